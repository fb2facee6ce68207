"""Initialization of parameter groups and their modules from a checkpoint of another run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.training.checkpoint import CheckpointPolicy, Checkpoints
from jaxdl.training.load_groups import load_groups
from jaxdl.training.state import TrainState


def state(value: float, ema: bool = False) -> TrainState:
    def filled(value: float) -> dict:
        encoder = {"stack": jnp.full(2, value), "embed": jnp.full((2, 2), value)}
        return {"classifier": {"encoder": encoder, "head": jnp.full(3, value)}, "judge": {"head": jnp.full(3, value)}}

    average = {"params": filled(10 * value), "variables": {}} if ema else {}
    return TrainState(jnp.int32(7), jnp.int32(0), filled(value), {}, {}, {}, average)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run whose parameters are 1 and whose average is 10."""
    folder = tmp_path_factory.mktemp("run")
    with Checkpoints(folder / "checkpoints", CheckpointPolicy()) as checkpoints:
        checkpoints.save(state(1.0, ema=True), {})
        checkpoints.wait()
    return folder


def test_only_the_named_modules_are_replaced_by_the_average(run):
    loaded = load_groups(run, {"classifier/encoder": "classifier/encoder", "judge": "judge"}, state(2.0))
    values = jax.tree.map(lambda leaf: float(np.unique(leaf).item()), loaded.params)
    assert values["classifier"] == {"encoder": {"stack": 10.0, "embed": 10.0}, "head": 2.0}
    assert values["judge"] == {"head": 10.0}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"judges": "judge"}, "this recipe has no parameter group 'judges'; did you mean 'judge'"),
        ({"judge": "judges"}, "has no parameter group 'judges'; did you mean 'judge'"),
        ({"judge": "classifier/encode"}, "has no 'encode' in 'classifier/encode'; did you mean 'encoder'"),
        ({"judge/head": "classifier/encoder/stack"}, r"does not match: .* is \(3,\) here and \(2,\) there"),
    ],
)
def test_missing_modules_and_other_shapes_are_refused(run, groups, message):
    with pytest.raises(UserError, match=message):
        load_groups(run, groups, state(2.0))


def test_a_missing_step_is_refused_with_those_that_exist(run):
    with pytest.raises(UserError, match=r"no checkpoint of step 3 in .*; steps that exist: \[7\]"):
        load_groups(run, {"judge": "judge"}, state(2.0), step=3)
