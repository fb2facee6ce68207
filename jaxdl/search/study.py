"""Study of a hyperparameter search, whose trials several machines share through a folder."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError, write_errors
from jaxdl.flock import exclusive
from jaxdl.search.claims import Claims

FILE = "search.journal"
FOLDER = ".search"  # of claims, locks and the logs of workers
_BEFORE = "search.db"  # of earlier versions
_PRUNED = "pruned"  # attribute of a trial: the step at which the pruner stopped it


@dataclass(frozen=True)
class Trial:
    """Trial that this worker has claimed.

    Attributes:
      number: Its number in the study.
      params: Its values by name.
      reported: Steps whose values the study has.
      pruned: Whether the pruner has stopped it.
    """

    number: int
    params: Mapping[str, Any]
    reported: frozenset[int]
    pruned: bool


class Study:
    """Optuna study in a journal, a file that is only appended to; a context manager that gives up its claims.

    Any number of processes on any machines may use the folder at the same time. A trial whose worker was killed is
    taken by the next one that asks.

    Args:
      folder: Folder of the runs.
      name: Name of the study; a folder may have several.
      mode: "max" or "min".
      axes: Optuna's distributions by name.
      count: Number of trials.
      pruner: Optuna pruner.
      seed: Seed of the sampler.
      worker: Name of this worker, see `jaxdl.search.claims.Claims`.

    Raises:
      UserError: The journal is damaged or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        mode: str,
        axes: Mapping[str, Any],
        count: int,
        pruner: Any,
        seed: int = 0,
        worker: str | None = None,
    ):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path, self._axes, self._count, self._seed = folder / FILE, dict(axes), count, seed
        if (folder / _BEFORE).exists() and not self._path.exists():
            raise UserError(
                f"{folder / _BEFORE} is a search of an earlier version; give another --workdir, or remove the file to"
                " start the search again: finished runs are not repeated"
            )
        self.digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        self._mutex = folder / FOLDER / "lock"
        self._claims = Claims(folder / FOLDER / f"claims-{self.digest}", worker)
        with exclusive(self._mutex), _damage(self._path):
            self._storage = _open(self._path)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="maximize" if mode == "max" else "minimize",
                load_if_exists=True,
                pruner=pruner,
            )
        self._id = self._storage.get_study_id_from_name(name)

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *exception) -> None:
        self._claims.close()

    @property
    def finished(self) -> bool:
        """Whether all trials have ended."""
        trials = self._trials()
        return len(trials) >= self._count and all(trial.state.is_finished() for trial in trials)

    @property
    def best(self) -> tuple[Mapping[str, Any], float] | None:
        """Values and result of the best trial; None if no trial has a result."""
        from optuna.trial import TrialState

        if not any(trial.state == TrialState.COMPLETE for trial in self._trials()):
            return None
        return self._study.best_params, self._study.best_value

    def __len__(self) -> int:
        return len(self._trials())

    def take(self) -> Trial | None:
        """Claims a trial that no worker is at, or a new one; None if there is none."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        with exclusive(self._mutex):
            trials = self._trials()
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            trial = next((trial for trial in running if self._claims.is_free(trial.number)), None)
            if trial is None:
                if len(trials) >= self._count:
                    return None
                self._study.sampler = TPESampler(seed=self._seed + len(trials), constant_liar=True)
                number = self._study.ask(fixed_distributions=self._axes).number
                trial = self._trials()[number]
            self._claims.take(trial.number)
        return Trial(trial.number, trial.params, frozenset(trial.intermediate_values), _PRUNED in trial.user_attrs)

    def report(self, number: int, step: int, value: float, prune: bool = True) -> bool:
        """Stores the value of a trial after a step, and returns whether the pruner stops the trial.

        Args:
          number: Number of the trial.
          step: Training steps done.
          value: Value of the metric; NaN is the worst.
          prune: Whether the pruner is asked.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        trial = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        try:
            self._storage.set_trial_intermediate_value(trial, step, value)
            if not (prune and self._study.pruner.prune(self._study, self._storage.get_trial(trial))):
                return False
            self._storage.set_trial_user_attr(trial, _PRUNED, step)  # survives a kill before the training has stopped
        except UpdateFinishedTrialError:  # by a worker that has taken the trial over
            return False
        return True

    def tell(self, number: int, value: float | None, pruned: bool = False) -> None:
        """Ends a trial with its result; without one it has failed, unless it was pruned."""
        from optuna.trial import TrialState

        state = None if value is not None else TrialState.PRUNED if pruned else TrialState.FAIL
        self._study.tell(number, value, state=state, skip_if_finished=True)
        self._claims.drop(number)

    def renew(self) -> None:
        """Renews the claims of this worker; called at least once per minute."""
        self._claims.renew()

    def _trials(self) -> list[Any]:
        return self._study.get_trials(deepcopy=False)


def _open(path: Path) -> Any:
    """Returns the storage of a journal, without an incomplete last line of a process that was killed."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    class Journal(JournalFileBackend):
        """Journal whose errors name its file."""

        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
            with _damage(path):
                yield from super().read_logs(log_number_from)

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            with write_errors(path):
                super().append_logs(logs)

    path = path.absolute()  # Optuna's lock is a symbolic link in its folder
    if path.exists() and not _is_whole(path):
        lock = JournalFileSymlinkLock(str(path))
        lock.acquire()
        try:
            if not _is_whole(path):
                os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        finally:
            lock.release()
    with write_errors(path):
        backend = Journal(str(path))
    return JournalStorage(backend)


def _is_whole(path: Path) -> bool:
    text = path.read_bytes()
    return not text or text.endswith(b"\n")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns the errors of a journal that cannot be read into a UserError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot read {path} ({reason}); restore it from a copy, or remove it to start the search again: finished"
            " runs are not repeated"
        ) from error
