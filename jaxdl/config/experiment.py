"""Experiment, the complete description of a run; its construction from a configuration and its validation."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import fiddle as fdl
import optax

from jaxdl.config.ranges import check
from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import UserError, nearest
from jaxdl.training.ensemble import check_averages, member_seeds
from jaxdl.training.spikes import Spikes
from jaxdl.training.task import Task

if TYPE_CHECKING:
    from jaxdl.data.dataset import Data
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun, Initializer


@dataclass(frozen=True)
class Seeds:
    """Seeds of single sources of randomness, which separate their effects; None: the seed of the run.

    Attributes:
      init: Initial parameters.
      order: Order of the training examples.
      augment: Random transforms of the training examples.
      noise: Draws of the train step (dropout, latents, noise levels, masks) and of the evaluation.
    """

    init: int | None = None
    order: int | None = None
    augment: int | None = None
    noise: int | None = None


@dataclass(frozen=True)
class Experiment:
    """Complete description of a run.

    Attributes:
      task: Model, losses, evaluation and prediction.
      data: Training and evaluation data, batching and augmentation.
      optimizers: {phase: optax transformation} for each phase of the task.
      steps: Training steps.
      seed: Seed of all random numbers of the run.
      seeds: Other seeds of single sources of randomness.
      ensemble: Number of members with their own seeds, `seed * ensemble` and the following, that are trained in one
        program. Evaluation, prediction and export average their outputs (arXiv:1612.01474). None: no ensemble. For
        tasks that define `average`.
      accumulate: Micro-batches of a batch (gradient accumulation). The gradient equals that of the full batch.
      ema: Decay, between 0 and 1, of the exponential moving average (EMA) of parameters and variables, or a function
        of the step such as `jaxdl.training.optimizers.power_average`. Evaluation, prediction and export use the
        average. None disables it.
      nonfinite: Response to a non-finite loss or gradient: "stop" ends the run, "skip" skips the update.
      skip_spikes: Rule by which updates at loss spikes are skipped. By default none is.
      start: Source of initial parameters: another run, or weights of another library. None initializes randomly.
      parallel: Device mesh and sharding.
      log_every: Steps between reports of training metrics.
      eval_every: Steps between evaluations. The last step is always evaluated.
      evaluate: Whether training evaluates. `jaxdl eval RUN --follow` evaluates checkpoints in another process.
      save_every: Steps between checkpoints. The last step is always saved.
      save_minutes: Minutes since the last checkpoint after which another one is saved between those of `save_every`.
        With several processes the time is compared every `log_every` steps. None saves by steps only.
      keep: Checkpoint retention.
      select: Checkpoint that is scored on the test split, and that evaluation, prediction, explanation and export use:
        "last", or "best" by `keep.metric` among the steps that `selectable` accepts. "best" restores a second state at
        the end of training, which needs memory for it.
    """

    task: Task
    data: "Data"
    optimizers: Mapping[str, optax.GradientTransformation]
    steps: int
    seed: int = 0
    seeds: Seeds = field(default_factory=Seeds)
    ensemble: int | None = None
    accumulate: int = 1
    ema: float | Callable[[Any], Any] | None = None
    nonfinite: str = "stop"
    skip_spikes: Spikes = field(default_factory=Spikes)
    start: InitFromRun | Initializer | None = None
    parallel: Parallel = field(default_factory=Parallel)
    log_every: int = 50
    eval_every: int = 500
    evaluate: bool = True
    save_every: int = 500
    save_minutes: float | None = None
    keep: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    select: str = "last"

    def seeds_of(self, source: str) -> tuple[int, ...]:
        """Returns the seed of a source of randomness, a field of `Seeds`, for each member of an ensemble or the run."""
        own = getattr(self.seeds, source)
        seed = self.seed if own is None else own
        return (seed,) if self.ensemble is None else member_seeds(seed, self.ensemble)

    def evaluates(self, step: int) -> bool:
        """Returns whether training evaluates after this step."""
        return self.evaluate and (step % self.eval_every == 0 or step == self.steps)

    def scheduled(self, step: int) -> bool:
        """Returns whether a run of any length evaluates and saves this step; a signal saves other steps, too."""
        return step % self.eval_every == 0 and step % self.save_every == 0

    def selectable(self, step: int) -> bool:
        """Returns whether `select="best"` considers this step: a scheduled one, or the last."""
        return self.scheduled(step) or step == self.steps


def build(config: fdl.Buildable) -> Experiment:
    """Builds the experiment and validates it.

    Raises:
      UserError: A missing, unknown or invalid argument, with its path.
    """
    check(config)  # first, since calls raise less specific errors
    try:
        experiment = fdl.build(config)
    except (UserError, TypeError, ValueError, ArithmeticError) as error:
        original = getattr(error, "proxy_base_exception", error)
        if isinstance(original, UserError):
            raise UserError(str(original)) from error
        message = str(original).strip().partition("\n")[0]
        match = re.search(r"failed to construct or call (\S+) at <root>\.?(\S*)", getattr(error, "proxy_message", ""))
        if match and match[1].rpartition(".")[2] not in message:
            message = f"{match[1]}: {message}"
        where = re.sub(r"\['([A-Za-z_]\w*)'\]", r".\1", match[2]) if match else ""
        raise UserError(f"{where or 'experiment'}: {message}") from error
    if not isinstance(experiment, Experiment):
        raise UserError(f"the recipe returns {type(experiment).__name__}; experiment() must return an Experiment")
    _validate_parts(experiment)
    return experiment


def validate(experiment: Experiment) -> None:
    """Validates an experiment.

    Raises:
      UserError: An argument of another type or out of its range, a batch size that is not divisible by the
        micro-batches, a phase without optimizer or an optimizer without phase, an unknown mode, a metric of a missing
        evaluation.
    """
    check(experiment)
    _validate_parts(experiment)


def _validate_parts(experiment: Experiment) -> None:
    """Validates that the parts of an experiment belong together."""
    batch_size = experiment.data.batch_size
    if batch_size % experiment.accumulate:
        raise UserError(
            f"data.batch_size={batch_size} is not divisible by accumulate={experiment.accumulate} micro-batches;"
            " use a multiple"
        )
    if experiment.nonfinite not in ("stop", "skip"):
        raise UserError(f"nonfinite is '{experiment.nonfinite}'; {nearest(experiment.nonfinite, ('stop', 'skip'))}")
    if experiment.ensemble is not None:
        check_averages(experiment.task)
    if isinstance(experiment.start, InitFromRun) and not experiment.start.groups:
        raise UserError("start.groups is empty; name the parameter groups to load, or omit start")
    _validate_optimizers(experiment)
    _validate_keep(experiment)


def _validate_optimizers(experiment: Experiment) -> None:
    phases = [phase.name for phase in experiment.task.phases]
    for name in phases:
        if name not in experiment.optimizers:
            raise UserError(
                f"optimizers lacks the phase '{name}' of the task;"
                f" it has: {', '.join(sorted(experiment.optimizers)) or '(none)'}"
            )
    for name in experiment.optimizers:
        if name not in phases:
            raise UserError(f"optimizers.{name} does not match a phase of the task; {nearest(name, phases)}")


def _validate_keep(experiment: Experiment) -> None:
    keep, evals = experiment.keep, experiment.data.evals
    if keep.mode not in ("max", "min"):
        raise UserError(f"keep.mode is '{keep.mode}'; {nearest(keep.mode, ('max', 'min'))}")
    if "train" in evals:
        raise UserError("data.evals has an eval 'train', which is reserved for training metrics; rename it")
    if "test" in evals:
        raise UserError(
            "data.evals has an eval 'test'; pass the test split as data.test, which is scored at the end only"
        )
    if experiment.select not in ("last", "best"):
        raise UserError(f"select is '{experiment.select}'; {nearest(experiment.select, ('last', 'best'))}")
    if experiment.select == "best" and (keep.metric is None or keep.best < 1):
        raise UserError(
            f"select='best' needs keep.metric and keep.best >= 1, but they are {keep.metric!r} and {keep.best}; set"
            " them, or select='last'"
        )
    if keep.period is not None and keep.period % experiment.save_every:
        raise UserError(
            f"keep.period={keep.period} is not a multiple of save_every={experiment.save_every}, which saves the"
            " checkpoints; use a multiple"
        )
    if keep.metric is None:
        return
    if experiment.select == "best" and not experiment.evaluate:
        raise UserError("select='best' needs the evaluations of training; set evaluate=True, or select='last'")
    name, slash, metric = keep.metric.partition("/")
    if not slash or not metric:
        raise UserError(f"keep.metric is '{keep.metric}'; expected EVAL/NAME, for example validation/accuracy")
    if name not in evals:
        raise UserError(f"keep.metric='{keep.metric}' does not match an eval of data.evals; {nearest(name, evals)}")
