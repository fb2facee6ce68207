"""Library interface: `jaxdl.train`, `jaxdl.load` and the `Run` that both return."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fiddle as fdl
import numpy as np

from jaxdl.config.experiment import Experiment
from jaxdl.config.overrides import as_overrides, resolve
from jaxdl.config.recipes import as_recipe
from jaxdl.config.settings import fingerprint
from jaxdl.errors import UserError
from jaxdl.home import is_url
from jaxdl.remote import local_run
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.places import default_name
from jaxdl.runs.restore import Trained, load_trained, trust_run
from jaxdl.runs.stored import stored

Settings = Mapping[str, Any] | Sequence[str]
_UNNAMED = Path("experiment.py")  # names runs without a recipe


class Run:
    """Trained run, restored from its folder at the first use of its parameters.

    Attributes:
      path: Run folder.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        step: int | None = None,
        settings: Sequence[str] = (),
        config: fdl.Config | Experiment | None = None,
    ):
        """Args as in `jaxdl.runs.restore.load_trained`."""
        self.path = Path(path)
        self._step, self._settings, self._config = step, tuple(settings), config

    def __repr__(self) -> str:
        return f"Run(path={str(self.path)!r})"

    @functools.cached_property
    def trained(self) -> Trained:
        """The experiment, its compiled functions and the restored state."""
        return load_trained(self.path, self._step, self._settings, self._config)

    @property
    def experiment(self) -> Experiment:
        return self.trained.experiment

    @property
    def step(self) -> int:
        """Training steps done at this checkpoint."""
        return int(self.trained.state.step)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics at this checkpoint: {evaluation: {metric: value}}."""
        result = RunFolder.open(self.path).result()
        if result is not None and result.get("selected_step", result["step"]) == self.step:
            return result["metrics"]
        return self.trained.record["metrics"]

    @property
    def params(self) -> Mapping[str, Any]:
        """Parameters by group, as evaluation and prediction use them: averaged if the experiment has `ema`."""
        return self.trained.state.evaluated[0]

    @property
    def variables(self) -> Mapping[str, Any]:
        """Batch statistics and the like, as evaluation and prediction use them."""
        return self.trained.state.evaluated[1]

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """Class names and tokenizers by feature."""
        return self.trained.names

    def predict(self, inputs: Any = (), *, texts: str | Sequence[str] = ()) -> list[dict[str, np.ndarray]]:
        """Predicts for images, files or texts.

        Args:
          inputs: Path of a file or folder; image uint8 [height, width, channels]; images [n, height, width, channels];
            or a list of paths or images. Images of any size are preprocessed as in evaluation.
          texts: Text or texts, for a task on text.

        Returns:
          The task's outputs for each input, boxes and maps in pixels of the input. `names` holds the class names.

        Raises:
          UserError: An input that cannot be read or that the model does not take.
        """
        from jaxdl.runs.inference import inputs_of, predict

        texts = [texts] if isinstance(texts, str) else list(texts)
        return list(predict(self.trained, inputs_of(self.trained, str(self.path)).read(_inputs(inputs), texts)))


def train(
    experiment: Any,
    workdir: str | os.PathLike | None = None,
    *,
    settings: Settings = (),
    allow: Sequence[str] = (),
    progress: bool = True,
    tracker: str = "",
    profile: str = "",
) -> Run:
    """Trains an experiment in a run folder, or resumes the run in the folder from its newest checkpoint.

    Args:
      experiment: `@auto_config` function, Fiddle config, path or module name of a recipe, or `Experiment` object. The
        run of an object is opaque: its code is not saved, so that `load` needs the object again and `reproduce` and
        `sweep` refuse the run.
      workdir: Run folder, or its URL in an object store. By default `runs/NAME-FINGERPRINT`, so that a configuration
        finds its run again; required for an `Experiment` object.
      settings: {NAME: VALUE} or ["NAME=VALUE"], as `--set` of the command line. Not for `Experiment` objects.
      allow: Accepted differences from the run in the folder: "config", "data", "batch_size".
      progress: Whether progress is printed.
      tracker: Tracker that also gets metrics, pictures and result: "wandb" or "mlflow". "": none.
      profile: Steps to trace with JAX's profiler, "FIRST..LAST". "": none.

    Returns:
      The trained run.

    Raises:
      UserError: The experiment, a setting or the data do not fit, or the folder contains another run.
      Preempted: SIGTERM or SIGINT was received in the main thread. The state is saved; call `train` again to resume.
      NonFinite: A loss or gradient was not finite.
    """
    from jaxdl.commands.train import check_allowances, check_tracker, make
    from jaxdl.runs.environment import configure_library

    check_allowances(allow)
    check_tracker(tracker)
    absent = configure_library()
    subject = _subject(experiment, settings)
    if workdir is None:
        if isinstance(subject.config, Experiment):
            raise UserError("an Experiment object has no fingerprint that names its run; pass workdir")
        workdir = Path("runs") / default_name(subject.file, fingerprint(subject.config))
    command = f"jaxdl.train({subject.recipe or subject.file.stem!r}, settings={list(subject.settings)})"
    with stored(workdir, shown=progress) as path:
        make(
            subject.config, subject.recipe, subject.settings, path, allow, [command], absent, progress, tracker, profile
        )
    return Run(path, config=None if subject.recipe else subject.config)


def load(
    path: str | os.PathLike,
    step: int | None = None,
    *,
    experiment: Any = None,
    settings: Settings = (),
    trust: bool = False,
) -> Run:
    """Restores a run from its folder.

    Args:
      path: Run folder, or its URL in an object store.
      step: Step of the checkpoint. None: the newest, or with `select="best"` the best; if damaged, the next intact one.
      experiment: What the run was trained from, as for `train`. Needed only if its code has no file: functions and
        configs from a notebook or `__main__`, and `Experiment` objects.
      settings: As for `train`, such as {"task.beam": 8}; {"ema": None} restores parameters without averaging.
      trust: Whether the run's code, which another person may have written, is trusted as it is now. The code of your
        own runs is trusted since their training.

    Raises:
      UserError: Not a run folder, code that is not trusted, no such step, no intact checkpoint, or an experiment other
        than the run's.
    """
    from jaxdl.runs.environment import configure_library

    path = local_run(path) if is_url(path) else path
    RunFolder.open(path)
    configure_library()
    if trust:
        trust_run(path)
    config = None if experiment is None else _subject(experiment, ()).config
    run = Run(path, step, as_overrides(settings), config)
    _ = run.trained
    return run


class _Subject(NamedTuple):
    """Subject of `train`: its configuration, the recipe's name ("" for none), overrides, and a file that names runs."""

    config: fdl.Config | Experiment
    recipe: str
    settings: Sequence[str]
    file: Path


def _subject(experiment: Any, settings: Settings) -> _Subject:
    given = as_overrides(settings)
    if isinstance(experiment, Experiment):
        if given:
            raise UserError("settings need a recipe or config; change an Experiment with dataclasses.replace")
        return _Subject(experiment, "", (), _UNNAMED)
    if isinstance(experiment, fdl.Config):
        return _Subject(resolve(experiment, given), "", given, _UNNAMED)
    recipe = as_recipe(experiment)
    return _Subject(resolve(recipe, given), recipe.name, given, recipe.path)


def _inputs(inputs: Any) -> list[Any]:
    """Paths as strings, images as arrays."""
    if isinstance(inputs, (str, os.PathLike)):
        return [os.fspath(inputs)]
    if hasattr(inputs, "shape"):
        images = np.asarray(inputs)
        return list(images) if images.ndim == 4 else [images]
    return [os.fspath(one) if isinstance(one, (str, os.PathLike)) else np.asarray(one) for one in inputs]
