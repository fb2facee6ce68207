"""Checkpoints of the train state (Orbax), which of them stay on disk, and initializers of the state."""

import functools
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxdl.distributed.processes import lost
from jaxdl.errors import UserError, WriteError, cause_and_remedy, nearest
from jaxdl.training.digest import state_digest
from jaxdl.training.state import TrainState, leaf_names


@dataclass(frozen=True)
class CheckpointPolicy:
    """Preservation policy of a run's checkpoints.

    Attributes:
      latest: Number of newest checkpoints to keep.
      best: Number of best checkpoints by `metric` to keep in addition; without effect if `metric` is None.
      metric: Metric "EVAL/NAME" as in result.json, for example "validation/accuracy". None: no best checkpoints.
      period: Checkpoints of steps that are a multiple of it are kept, too. None: no further ones.
      mode: "max" if a higher metric is better, "min" if a lower one is.
    """

    latest: int = 2
    best: int = 1
    metric: str | None = None
    mode: str = "max"
    period: int | None = None

    def quality(self, metrics: Mapping[str, Mapping[str, float]]) -> float | None:
        """Returns `metric`, negated if lower is better; None if it is missing or not finite.

        Args:
          metrics: {evaluation: {metric: value}}.
        """
        split, _, name = (self.metric or "").partition("/")
        value = metrics.get(split, {}).get(name)
        return None if value is None or not np.isfinite(value) else value if self.mode == "max" else -value


class Initializer(Protocol):
    """Source of initial parameters: `InitFromRun`, pretrained weights, or a class of the user."""

    def load(self, state: TrainState) -> TrainState:
        """Returns the randomly initialized `state` with loaded parameters; shapes, types and shardings stay."""
        ...


@dataclass(frozen=True)
class InitFromRun:
    """Initialization of parameter groups from another run.

    Attributes:
      run: Folder or URL of the other run.
      groups: Names of the groups, or {group here: group there}; "group/module" is one module of a group.
      step: Step of the checkpoint. None: the one that the run was scored on, see `Experiment.select`.
    """

    run: str
    groups: Mapping[str, str] | tuple[str, ...]
    step: int | None = None

    def load(self, state: TrainState) -> TrainState:
        """Returns `state` with the loaded groups; see `load_groups`, also for errors."""
        from jaxdl.training.load_groups import load_groups

        groups = self.groups if isinstance(self.groups, Mapping) else {name: name for name in self.groups}
        return load_groups(self.run, groups, state, self.step)


PyTree = Any
Metrics = Mapping[str, Mapping[str, float]]  # {evaluation: {metric: value}}

DIGESTS, CHECKSUM = "digests", "sha256"  # of the arrays, and of the record itself


class Restored(NamedTuple):
    """Restored checkpoint whose digests match.

    Attributes:
      state: Train state in the requested shardings.
      record: JSON values saved with it.
      bad: (step, reason) of every preferred checkpoint that is damaged.
    """

    state: TrainState
    record: dict[str, Any]
    bad: list[tuple[int, str]]


def items_of(state: TrainState) -> dict[str, PyTree]:
    """Returns a state as Orbax items, without empty trees, which Orbax does not save."""
    training = {"step": state.step, "seed": state.seed, "carry": state.carry, "opt_state": state.opt_state}
    items = {"params": state.params, "variables": state.variables, "ema": state.ema, "training": training}
    return {name: item for name, item in items.items() if jax.tree.leaves(item)}


def _state(items: Mapping[str, PyTree], like: TrainState) -> TrainState:
    """Inverts `items_of`; empty trees are those of `like`."""
    whole = {name: items[name] for name in ("params", "variables", "ema") if name in items}
    return like.replace(**whole, **items["training"])


@functools.cache
def _orbax() -> ModuleType:
    """Imports Orbax with process-wide settings: fewer log messages, small arrays written whole."""
    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs every operation at level INFO
    # Each device that holds a replica writes a slice of it. Slicing small arrays takes longer than it saves, see
    # benchmarks/saving.py.
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=2**20)
    ocp.type_handlers.register_type_handler(jax.Array, arrays, override=True)
    return ocp


def _drop_late_reads(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """Drops the tracebacks of arrays that TensorStore reads after Orbax ended with the error of a damaged one."""

    def report(args: Any) -> None:
        if (type(args.exc_value), str(args.exc_value)) != (RuntimeError, "Event loop is closed"):
            hook(args)

    return report


sys.unraisablehook = _drop_late_reads(sys.unraisablehook)


def digests_of(state: TrainState) -> dict[str, str]:
    """Returns {item/path: SHA-256} of every array of a state."""
    return state_digest(items_of(state))[0]


def _evaluated(record: Mapping[str, Any], step: int) -> Metrics:
    """Returns the metrics in the record of a step, {} if they are of an earlier one."""
    return record["metrics"] if record.get("evaluated_at") == step else {}


def _checksum(record: Mapping[str, Any]) -> str:
    content = {name: value for name, value in record.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()).hexdigest()


class Checkpoints:
    """Checkpoints of one run folder.

    `save` returns once the state is copied to the host and writes in the background. The newest `keep.latest`, the best
    `keep.best` and those of every `keep.period` steps are preserved.
    """

    def __init__(
        self,
        path: str | Path,
        keep: CheckpointPolicy | None = None,
        scheduled: Callable[[int], bool] = lambda step: True,
    ):
        """
        Args:
          path: Folder of the checkpoints.
          keep: Preservation policy; the folder is created. None: the folder is only read.
          scheduled: Returns whether a step can be one of the best that are kept.

        Raises:
          UserError: The folder cannot be created.
        """
        ocp = _orbax()
        self.path = Path(path).absolute()
        self._ocp = ocp
        self._keep, self._scheduled = keep, scheduled
        self._metrics: dict[int, Metrics | None] = {}  # read so far
        self._saving: int | None = None  # step of the save that may run in the background
        options: dict[str, Any] = {"create": keep is not None, "read_only": keep is None, "step_prefix": None}
        if keep is not None:
            options["preservation_policy"] = SimpleNamespace(should_preserve=self._preserved)
        try:
            self._manager = ocp.CheckpointManager(self.path, options=ocp.CheckpointManagerOptions(**options))
        except OSError as error:
            raise UserError(f"cannot write checkpoints in {self.path}: {error}; choose another --workdir") from error

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            self._manager.close()
        except Exception as failure:
            if error is None:  # otherwise it is a consequence of that error
                raise self._write_error(failure) from failure

    @property
    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending, without verification."""
        return sorted(self._manager.all_steps())

    @property
    def latest(self) -> int | None:
        return self.steps[-1] if self.steps else None

    def metrics(self, step: int) -> Metrics | None:
        """Returns the metrics of a saved step, {} if it was not evaluated, None if its record is damaged."""
        if step not in self._metrics:
            try:
                self._metrics[step] = _evaluated(self.record(step), step)
            except Exception:  # damaged files raise many types; `restore` reports the reason
                self._metrics[step] = None
        return self._metrics[step]

    def ranking(self, keep: CheckpointPolicy, accepted: Callable[[int], bool], now: Mapping = {}) -> list[int]:
        """Returns the steps with a finite `keep.metric`, the best first, of equal ones the earliest.

        Steps with a damaged record come before them, so that `restore` reports them.

        Args:
          keep: Policy with the metric and its mode.
          accepted: Returns whether a step is ranked.
          now: {step: metrics} of a state that is not saved yet.
        """
        metrics = {**{step: self.metrics(step) for step in self.steps if accepted(step)}, **now}
        damaged = [step for step, values in metrics.items() if values is None]
        quality = {step: keep.quality(values) for step, values in metrics.items() if values is not None}
        finite = {step: value for step, value in quality.items() if value is not None}
        return damaged + sorted(finite, key=lambda step: (-finite[step], step))

    def _preserved(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Preservation policy of Orbax: the newest, the best, the periodic, and those with a damaged record.

        Orbax's own policy of the best forgets the metrics of earlier attempts and keeps the last of equal ones.
        """
        del context
        keep, steps = self._keep, [info.step for info in checkpoints]
        assert keep is not None
        ranking = self.ranking(keep, self._scheduled)
        damaged = [step for step in ranking if self.metrics(step) is None]
        kept = {*steps[-max(keep.latest, 1) :], *ranking[: len(damaged) + keep.best]}
        kept |= {step for step in steps if keep.period is not None and step % keep.period == 0}
        return [step in kept for step in steps]

    def save(self, state: TrainState, record: Mapping[str, Any]) -> None:
        """Saves the state, unless its step has a checkpoint.

        Args:
          state: Train state.
          record: JSON values that `restore` returns. `metrics` {evaluation: {metric: value}} rank the checkpoint if
            `evaluated_at` is its step.

        Raises:
          UserError: `keep.metric` is not among the metrics, or a checkpoint could not be written; earlier ones are
            intact.
        """
        step, metric = int(state.step), self._keep.metric if self._keep is not None else None
        metrics = _evaluated(record, step)
        names = [f"{split}/{name}" for split, values in metrics.items() for name in values]
        if names and metric and metric not in names:
            raise UserError(f"keep.metric='{metric}' is not a metric of the run; {nearest(metric, names)}")
        if step in self.steps:
            return
        items = items_of(state)
        digests, _ = state_digest(items)
        save, ocp = {name: self._ocp.args.StandardSave(item) for name, item in items.items()}, self._ocp
        # A copy: Orbax writes it in the background, while training goes on to change the sums of its metrics.
        record = json.loads(json.dumps({**record, DIGESTS: digests}))
        record_save = ocp.args.JsonSave({**record, CHECKSUM: _checksum(record)})
        self.wait()
        self._saving, self._metrics[step] = step, metrics
        if metric:
            _ = [self.metrics(earlier) for earlier in self.steps]  # `_preserved` reads no files during the save
        try:
            self._manager.save(step, args=ocp.args.Composite(**save, record=record_save))
        except Exception as error:
            raise self._write_error(error) from error

    def wait(self) -> None:
        """Waits for the background save.

        Raises:
          UserError: The checkpoint could not be written.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._write_error(error) from error

    def _write_error(self, error: Exception) -> WriteError:
        """Returns the error of the checkpoint that was saved last; Orbax raises it at the next call."""
        return WriteError(
            f"cannot write the checkpoint of step {self._saving} in {self.path}: {cause_and_remedy(error)}"
        )

    def record(self, step: int) -> dict[str, Any]:
        """Returns the JSON values saved with the state of `step`. A damaged checkpoint raises any exception."""
        args = self._ocp.args.Composite(record=self._ocp.args.JsonRestore())
        record = dict(self._manager.restore(step, args=args)["record"])
        if record.pop(CHECKSUM, None) != _checksum(record):
            raise ValueError("its record does not have its SHA-256")
        return record

    def items(self, step: int, names: Sequence[str] = ("params", "variables", "ema", "training")) -> dict[str, PyTree]:
        """Reads items of a checkpoint without its model, and verifies their digests.

        Args:
          step: Step of the checkpoint.
          names: Items; those that the checkpoint does not have are left out.

        Returns:
          {item: nested dictionaries and sequences of arrays}.

        Raises:
          UserError: A digest differs. Other damage raises any exception.
        """
        expected = self.record(step)[DIGESTS]
        present = [name for name in names if any(path.startswith(f"{name}/") for path in expected)]
        args = self._ocp.args.Composite(**{name: self._ocp.args.StandardRestore() for name in present})
        items = dict(self._manager.restore(step, args=args).items())
        actual = state_digest(items)[0]
        for path in sorted(actual.keys() | {path for path in expected if path.split("/")[0] in present}):
            if expected.get(path) != actual.get(path):
                raise UserError(
                    f"checkpoint {self.path}/{step} is damaged: {path} has another SHA-256 than when saved; use another"
                    " step"
                )
        return items

    def newest_record(self, step: int | None = None) -> dict[str, Any]:
        """Returns the record of a step, or of the newest checkpoint whose record is readable.

        Raises:
          UserError: The step has no checkpoint, or no checkpoint has a readable record.
        """
        reasons = []
        for candidate in [step] if step is not None else reversed(self.steps):
            try:
                return self.record(candidate)
            except Exception as error:  # damaged files raise many types; reported if no record is readable
                reasons.append(f"step {candidate}: {' '.join(str(error).split())[:120]}")
        steps = ", ".join(map(str, self.steps)) or "none"
        raise UserError(f"no checkpoint to read in {self.path}; {'; '.join([f'steps that exist: {steps}', *reasons])}")

    def _read(self, step: int, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
        record = self.record(step)
        wanted = {name: self._ocp.args.StandardRestore(item) for name, item in items_of(abstract).items()}
        items = self._manager.restore(step, args=self._ocp.args.Composite(**wanted))
        state = _state(dict(items.items()), abstract)
        actual, expected = digests_of(state), record.pop(DIGESTS)
        for name in sorted(expected.keys() | actual.keys()):
            if expected.get(name) != actual.get(name):
                raise ValueError(
                    f"{name} has SHA-256 {actual.get(name, 'missing')[:12]}, expected {expected.get(name, '?')[:12]}"
                )
        return state, record

    def restore(self, abstract: TrainState, steps: Sequence[int] | None = None) -> Restored | None:
        """Restores the first checkpoint whose digests match.

        Args:
          abstract: Shapes, types and shardings, for any mesh and device count.
          steps: Steps in the order of preference. None: the newest first.

        Returns:
          The checkpoint, or None if the folder has none.

        Raises:
          UserError: A step has no checkpoint, or all of them are damaged.
        """
        restored, bad = self.first_intact(abstract, self.steps[::-1] if steps is None else steps)
        if restored is None and bad:
            reasons = "; ".join(f"step {number}: {reason}" for number, reason in bad)
            raise UserError(f"no checkpoint in {self.path} can be restored ({reasons}); train in another --workdir")
        return restored

    def first_intact(self, abstract: TrainState, steps: Sequence[int]) -> tuple[Restored | None, list[tuple[int, str]]]:
        """Returns the first intact checkpoint or None, and (step, reason) of damaged ones; see `restore`."""
        bad: list[tuple[int, str]] = []
        for step in steps:
            if step not in self.steps:
                existing = ", ".join(map(str, self.steps)) or "none"
                raise UserError(f"no checkpoint of step {step} in {self.path}; steps that exist: {existing}")
            try:
                state, record = self._read(step, abstract)
                return Restored(state, record, bad), bad
            except Exception as error:  # damaged files raise many types; the reason is always reported
                if lost(error):
                    raise
                if mismatch := self._mismatch(step, abstract):
                    raise UserError(mismatch) from error
                bad.append((step, " ".join(str(error).split())[:200] or type(error).__name__))
        return None, bad

    def check_fit(self, abstract: TrainState, step: int | None = None) -> None:
        """Raises UserError if a checkpoint, by default the newest, has leaves of other shapes in its metadata."""
        step = self.latest if step is None else step
        if step is not None and (mismatch := self._mismatch(step, abstract)):
            raise UserError(mismatch)

    def _mismatch(self, step: int, abstract: TrainState) -> str:
        """Returns a message on the first leaf whose shape is not the stored one; "" if none, or if it is unreadable."""
        if not (self.path / str(step) / "params").is_dir():
            return ""
        reader = self._ocp.StandardCheckpointer()
        for item, tree in items_of(abstract).items():
            folder = self.path / str(step) / item
            try:
                metadata = reader.metadata(folder).item_metadata.tree if folder.is_dir() else {}
            except Exception:  # damaged files raise many types; the caller reports the checkpoint as damaged
                return ""
            expected, stored = (dict(zip(leaf_names(t), jax.tree.leaves(t))) for t in (tree, metadata))
            for name in (*expected, *stored):
                if name.startswith("carry"):  # rows of a batch, whose size the session checks
                    continue
                shapes = [str(leaves[name].shape) if name in leaves else "absent" for leaves in (stored, expected)]
                if shapes[0] != shapes[1]:
                    return (
                        f"the checkpoint of step {step} in {self.path} does not fit the model: {item}/{name} is"
                        f" {shapes[0]} there and {shapes[1]} here; use the run's configuration or another --workdir"
                    )
        return ""

    def set_aside(self, steps: list[int]) -> Path:
        """Moves damaged checkpoints to `../damaged/`, so that their steps can be saved again."""
        target = self.path.parent / "damaged"
        target.mkdir(exist_ok=True)
        for step in steps:
            shutil.rmtree(target / str(step), ignore_errors=True)
            shutil.move(self.path / str(step), target / str(step))
            self._metrics.pop(step, None)
        self._manager.reload()
        return target
