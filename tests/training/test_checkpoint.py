"""Checkpoints: their records."""

import jax.numpy as jnp

from jaxdl.training.checkpoint import CheckpointPolicy, Checkpoints
from jaxdl.training.state import TrainState


def test_a_record_that_changes_during_a_background_save_is_saved_as_it_was(tmp_path):
    nothing = {"variables": {}, "carry": {}, "opt_state": {}, "ema": {}}
    with Checkpoints(tmp_path, CheckpointPolicy(latest=9)) as checkpoints:
        for step in range(1, 9):
            record = {"window": {"loss": [float(step), 1.0]}}
            state = TrainState(step=jnp.int32(step), seed=jnp.uint32(0), params={"a": jnp.zeros(3)}, **nothing)
            checkpoints.save(state, record)
            record["window"]["loss"][0] = 0.0
        checkpoints.wait()
        assert [checkpoints.record(step)["window"]["loss"][0] for step in checkpoints.steps] == list(range(1, 9))
