"""Experiment: the complete description of one run, and the checks that need neither devices nor data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optax

from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import UserError, nearest
from jaxdl.training.task import Task

if TYPE_CHECKING:
    from jaxdl.data.dataset import Data
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun, Initializer

# Paths that say how a run is watched and laid out; they do not change its numbers, so the fingerprint leaves them out.
OBSERVES = (
    "parallel",
    "log_every",
    "eval_every",
    "save_every",
    "keep",
    "data.threads",
    "data.workers",
    "data.eval_batch_size",
)

# The least values of counts.
LEAST = {"steps": 1, "seed": 0, "accumulate": 1, "log_every": 1, "eval_every": 1, "save_every": 1}


def observes(path: str) -> bool:
    """Whether a path of a configuration, or the name of an override, only observes the run."""
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in OBSERVES)


@dataclass(frozen=True)
class Experiment:
    """All that one run is made of.

    Attributes:
      task: what is learnt: parameters, losses, evaluation, prediction.
      data: what it is learnt from and evaluated on, and how batches are made.
      optimizers: one optax transformation for each phase of the task, by the phase's name.
      steps: how many training steps the run takes.
      seed: every random draw of the run derives from it.
      accumulate: micro-batches that a batch is cut into, one after the other, to save memory; the gradient stays that
        of the whole batch.
      ema: decay, between 0 and 1, of the exponential moving average of parameters and variables, or a function of the
        step such as `jaxdl.training.optimizers.power_average`; evaluation, prediction and export then use the average.
        None: no average is kept.
      nonfinite: what a step with a loss or gradient that is not finite does: "stop" ends the run, "skip" drops the
        update and goes on.
      start: what parameters are taken from instead of drawn: another run, or weights of another library.
      parallel: how the run is spread over devices.
      log_every: training figures are reported every so many steps.
      eval_every: every eval runs after every so many steps, and after the last.
      save_every: a checkpoint is saved after every so many steps, and after the last.
      keep: which checkpoints stay.
    """

    task: Task
    data: "Data"
    optimizers: Mapping[str, optax.GradientTransformation]
    steps: int
    seed: int = 0
    accumulate: int = 1
    ema: float | Callable[[Any], Any] | None = None
    nonfinite: str = "stop"
    start: InitFromRun | Initializer | None = None
    parallel: Parallel = field(default_factory=Parallel)
    log_every: int = 50
    eval_every: int = 500
    save_every: int = 500
    keep: CheckpointPolicy = field(default_factory=CheckpointPolicy)


def validate(experiment: Experiment) -> None:
    """Refuses an experiment that cannot run.

    Raises:
      UserError: a count below its least value, a batch that does not cut into the micro-batches, a phase without
        optimizer or an optimizer without phase, an unknown mode, a moving-average decay outside (0, 1), a metric of an
        eval that does not exist.
    """
    validate_counts({name: getattr(experiment, name) for name in LEAST})
    batch_size = experiment.data.batch_size
    if batch_size % experiment.accumulate:
        raise UserError(
            f"data.batch_size {batch_size} does not cut into accumulate={experiment.accumulate} micro-batches;"
            " make it a multiple"
        )
    if experiment.nonfinite not in ("stop", "skip"):
        raise UserError(f"nonfinite is '{experiment.nonfinite}'; {nearest(experiment.nonfinite, ('stop', 'skip'))}")
    if isinstance(experiment.ema, (int, float)) and not 0 < experiment.ema < 1:
        raise UserError(f"ema is {experiment.ema}; a decay lies between 0 and 1, for example 0.999, or is None")
    if isinstance(experiment.start, InitFromRun) and not experiment.start.groups:
        raise UserError("start.groups is empty; name the parameter groups to take, or leave start out")
    _validate_optimizers(experiment)
    _validate_keep(experiment)


def validate_counts(values: Mapping[Any, Any]) -> None:
    """Refuses, of the values of fields by name, a count below its least value, with a UserError."""
    for name, minimum in LEAST.items():
        if name in values and values[name] < minimum:
            raise UserError(f"{name} is {values[name]}; it must be at least {minimum}")


def _validate_optimizers(experiment: Experiment) -> None:
    phases = [phase.name for phase in experiment.task.phases]
    for name in phases:
        if name not in experiment.optimizers:
            raise UserError(
                f"optimizers has none for the phase '{name}' of the task;"
                f" it has: {', '.join(sorted(experiment.optimizers)) or '(none)'}"
            )
    for name in experiment.optimizers:
        if name not in phases:
            raise UserError(f"optimizers.{name} belongs to no phase of the task; {nearest(name, phases)}")


def _validate_keep(experiment: Experiment) -> None:
    keep, evals = experiment.keep, experiment.data.evals
    if keep.latest < 1:
        raise UserError(f"keep.latest is {keep.latest}; a run needs its newest checkpoint to resume: at least 1")
    if keep.best < 0:
        raise UserError(f"keep.best is {keep.best}; it must be at least 0")
    if keep.mode not in ("max", "min"):
        raise UserError(f"keep.mode is '{keep.mode}'; {nearest(keep.mode, ('max', 'min'))}")
    if "train" in evals:
        raise UserError("data.evals has an eval 'train', the name of the training figures; give it another name")
    if experiment.data.test is not None and "test" in evals:
        raise UserError("data.evals has an eval 'test' besides data.test; give it another name, or leave data.test out")
    if keep.metric is None:
        return
    name, slash, metric = keep.metric.partition("/")
    if not slash or not metric:
        raise UserError(f"keep.metric is '{keep.metric}'; it has the form EVAL/NAME, for example validation/accuracy")
    if name not in evals:
        raise UserError(f"keep.metric '{keep.metric}' names no eval of data.evals; {nearest(name, evals)}")
