"""Checkpoints: their records, and which of them are kept."""

import math

import jax.numpy as jnp
import pytest

from jaxdl.training.checkpoint import CheckpointPolicy, Checkpoints
from jaxdl.training.state import TrainState


def state(step: int) -> TrainState:
    nothing = {"variables": {}, "carry": {}, "opt_state": {}, "ema": {}}
    return TrainState(step=jnp.int32(step), seed=jnp.uint32(0), params={"a": jnp.zeros(3)}, **nothing)


def test_a_record_that_changes_during_a_background_save_is_saved_as_it_was(tmp_path):
    with Checkpoints(tmp_path, CheckpointPolicy(latest=9)) as checkpoints:
        for step in range(1, 9):
            record = {"window": {"loss": [float(step), 1.0]}}
            checkpoints.save(state(step), record)
            record["window"]["loss"][0] = 0.0
        checkpoints.wait()
        assert [checkpoints.record(step)["window"]["loss"][0] for step in checkpoints.steps] == list(range(1, 9))


def save_all(path, keep, losses, attempts):
    """Saves steps 1, 2, ... with the given losses, in attempts that begin at the given steps."""
    for begin, end in zip(attempts, [*attempts[1:], len(losses) + 1]):
        with Checkpoints(path, keep, scheduled=lambda step: step != 3) as checkpoints:
            for step in range(begin, end):
                record = {"metrics": {"validation": {"loss": losses[step - 1]}}, "evaluated_at": step}
                checkpoints.save(state(step), record)
            checkpoints.wait()


@pytest.mark.parametrize("attempts", [[1], [1, 4, 6]], ids=["one attempt", "resumed twice"])
def test_the_first_of_the_best_checkpoints_is_kept(tmp_path, attempts):
    keep = CheckpointPolicy(latest=1, best=1, metric="validation/loss", mode="min")
    save_all(tmp_path, keep, [math.nan, 2.0, 0.0, 2.0, -math.inf, 3.0, math.nan], attempts)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [2, 7]
        assert checkpoints.ranking(keep, lambda step: True) == [2]
        assert checkpoints.ranking(keep, lambda step: True, {8: {"validation": {"loss": 1.0}}}) == [8, 2]
        assert checkpoints.ranking(CheckpointPolicy(metric="validation/x"), lambda step: True) == []


def test_a_checkpoint_with_a_damaged_record_is_kept_and_reported(tmp_path):
    keep = CheckpointPolicy(latest=1, best=1, metric="validation/loss", mode="min")
    save_all(tmp_path, keep, [1.0, 2.0], [1])
    for path in (tmp_path / "1" / "record").iterdir():
        path.write_bytes(b"")
    save_all(tmp_path, keep, [1.0, 2.0, 3.0, 4.0], [4])
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [1, 2, 4]
        assert checkpoints.ranking(keep, lambda step: True) == [1, 2, 4]
        restored = checkpoints.restore(state(0), [1, 2, 4])
        assert restored is not None
        assert (int(restored.state.step), [step for step, _ in restored.bad]) == (2, [1])
