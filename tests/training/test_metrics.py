"""Meters on a fake clock, FLOP counts, exact means, leaf names and digests."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxdl.training.aggregation import finalize
from jaxdl.training.digest import state_digest
from jaxdl.training.flops import mfu, traced_flops
from jaxdl.training.meters import Meter
from jaxdl.training.state import leaf_names
from jaxdl.training.step import squared_norms


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_meter_excludes_pauses_and_separates_data_from_steps():
    clock = Clock()
    meter = Meter({"step": 5.0}, clock=clock)
    for _ in range(4):
        with meter.data():
            clock.now += 0.5
        clock.now += 1.5
        meter.step(32)
    with meter.pause("evaluation"):
        clock.now += 60.0
        with meter.data():
            clock.now += 7.0
        with meter.pause("evaluation"):
            clock.now += 3.0
        assert meter.useful_seconds == pytest.approx(5 + 6)
    assert meter.report() == pytest.approx(
        {
            "step_time": 2.0,
            "data_wait": 0.5,
            "data_wait_share": 0.25,
            "examples_per_second": 16.0,
            "useful_seconds": 11.0,
        }
    )
    clock.now += 1.0
    meter.step(10)
    assert meter.useful_seconds == pytest.approx(12.0)
    second_report = meter.report()
    assert second_report["step_time"] == pytest.approx(1.0)
    assert second_report["data_wait"] == 0
    assert second_report["examples_per_second"] == pytest.approx(10.0)


def test_a_report_inside_a_pause_splits_it():
    clock = Clock()
    meter = Meter(clock=clock)
    clock.now += 1.0
    meter.step(1)
    with meter.pause("evaluation"):
        clock.now += 10.0
        assert meter.report()["step_time"] == pytest.approx(1.0)
        clock.now += 10.0
    clock.now += 2.0
    meter.step(1)
    assert meter.report() == pytest.approx(
        {"step_time": 2, "data_wait": 0, "data_wait_share": 0, "examples_per_second": 0.5, "useful_seconds": 3}
    )


def test_a_window_without_steps_has_no_step_metrics():
    clock = Clock()
    meter = Meter(clock=clock)
    with meter.pause("evaluation"):
        clock.now += 1
    assert meter.report() == {"useful_seconds": 0.0}


def test_a_failure_inside_a_pause_ends_it():
    clock = Clock()
    meter = Meter(clock=clock)
    with pytest.raises(KeyError), meter.pause("evaluation"):
        raise KeyError
    clock.now += 1
    assert meter.useful_seconds == pytest.approx(1.0)


def test_means_are_exact_on_the_host():
    result = finalize(
        {
            "loss": (jnp.float32(16777217.0), jnp.float32(3.0)),
            "nothing": (jnp.float32(0.0), jnp.float32(0.0)),
            "confusion": (np.array([[2, 0], [1, 1]]), np.array(4)),
            "per_class": (np.array([1.0, 0.0]), np.array([2.0, 0.0])),
        }
    )
    assert result["loss"] == np.float64(np.float32(16777217.0)) / 3.0
    assert isinstance(result["loss"], float)
    assert math.isnan(result["nothing"])
    np.testing.assert_array_equal(result["confusion"], [[0.5, 0], [0.25, 0.25]])
    np.testing.assert_array_equal(result["per_class"], [0.5, np.nan])


def test_leaves_have_readable_names():
    params = {"classifier": {"stem": {"kernel": jnp.ones(2)}}}
    state = {"params": params, "opt_state": {"train": optax.adam(1e-3).init(params)}}
    names = leaf_names(state)
    assert "params/classifier/stem/kernel" in names
    assert "opt_state/train/0/mu/classifier/stem/kernel" in names
    assert len(names) == len(jax.tree.leaves(state))
    with pytest.raises(ValueError, match="a/b"):
        leaf_names({"a": {"b": 1}, "a/b": 2})


def test_squared_norms_are_in_the_order_of_the_leaf_names():
    tree = {"a": jnp.array([1.0, jnp.nan]), "b": jnp.ones(3), "c": {"d": jnp.array([[jnp.inf]])}}
    norms = dict(zip(leaf_names(tree), jax.jit(squared_norms)(tree), strict=True))
    assert float(norms["b"]) == 3.0
    assert [name for name, norm in norms.items() if not np.isfinite(norm)] == ["a", "c/d"]
    assert squared_norms({}).shape == (0,)


def state() -> dict:
    return {
        "params": {
            "kernel": jnp.arange(6.0).reshape(2, 3),
            "half": jnp.ones(4, jnp.bfloat16),
            "empty": jnp.zeros((0, 3)),
        },
        "key": jax.random.key(0),
        "step": jnp.int32(3),
    }


def test_equal_states_have_equal_digests_on_any_sharding():
    digests, total = state_digest(state())
    assert set(digests) == set(leaf_names(state()))
    assert all(len(digest) == 64 for digest in (*digests.values(), total))
    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,))
    values = jnp.arange(len(devices) * 4.0)
    spread = jax.device_put(values, NamedSharding(mesh, PartitionSpec("data")))
    assert state_digest({"x": spread}) == state_digest({"x": values}) == state_digest({"x": np.asarray(values)})
    transposed = np.asfortranarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    assert state_digest({"x": np.arange(8)[::2]}) == state_digest({"x": np.array([0, 2, 4, 6])})
    assert state_digest({"x": transposed}) == state_digest({"x": jnp.arange(6.0).reshape(2, 3)})


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["params"].update(kernel=s["params"]["kernel"].at[1, 2].add(1e-6)),
        lambda s: s["params"].update(kernel=s["params"]["kernel"].reshape(3, 2)),
        lambda s: s["params"].update(kernel=s["params"]["kernel"].at[0, 0].set(-0.0)),
        lambda s: s["params"].update(half=s["params"]["half"].astype(jnp.float16)),
        lambda s: s["params"].update(empty=jnp.zeros((3, 0))),
        lambda s: s.update(key=jax.random.key(1)),
        lambda s: s.update(step=jnp.int32(4)),
        lambda s: s["params"].update(core=s["params"].pop("kernel")),
    ],
    ids=["value", "shape", "sign of zero", "dtype", "empty shape", "key", "step", "name"],
)
def test_any_difference_changes_the_digest(change):
    altered = state()
    change(altered)
    digests, digest = state_digest(altered)
    before, whole_before = state_digest(state())
    assert digest != whole_before
    assert digests != before


def mlp(params, x):
    for kernel in params:
        x = jax.nn.relu(x @ kernel)
    return jnp.sum(x)


def traced(function, *args) -> float:
    return traced_flops(jax.jit(function).trace(*args).jaxpr)


def test_flops_of_matrix_products_and_their_gradients():
    params, x = [jnp.ones((8, 16)), jnp.ones((16, 4))], jnp.ones((32, 8))
    forward = 2 * 32 * (8 * 16 + 16 * 4)
    assert traced(mlp, params, x) == forward
    assert traced(jax.grad(mlp, argnums=(0, 1)), params, x) == 3 * forward
    assert traced(jax.vmap(mlp, (None, 0)), params, x.reshape(4, 8, 8)) == forward
    # The gradient of the input is not computed; recomputation counts.
    assert traced(jax.grad(mlp), params, x) == 3 * forward - 2 * 32 * 8 * 16
    recomputed = traced(jax.value_and_grad(jax.checkpoint(mlp)), params, x)
    assert recomputed > traced(jax.value_and_grad(mlp), params, x)


def test_scans_count_per_iteration_and_dead_code_is_excluded():
    kernel, x = jnp.ones((8, 8)), jnp.ones((4, 8))
    iteration = 2 * 4 * 8 * 8

    def scanned(x):
        def body(carry, _):
            hidden, weight = carry
            return (hidden @ kernel, weight + 1), jax.jit(lambda x: x @ kernel @ kernel)(x)

        (hidden, weight), outputs = jax.lax.scan(body, (x, 0), None, length=5)
        return hidden, weight, outputs

    assert traced(lambda x: scanned(x)[0], x) == 5 * iteration
    assert traced(lambda x: scanned(x)[2], x) == 5 * 3 * iteration

    def weights_only(x):
        return jax.lax.scan(lambda total, _: (total + 1, (x @ kernel).sum()), 0, None, length=5)[0]

    assert traced(weights_only, x) == 0
    assert (
        traced(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ kernel @ kernel, lambda x: x @ kernel, x), x)
        == 2 * iteration
    )
    assert traced(lambda x: jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ kernel, x), x) == iteration


def test_flops_of_convolutions():
    x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 2, 6))

    def convolution(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=numbers, feature_group_count=2)

    forward = 2 * (2 * 4 * 4 * 6) * (3 * 3 * 2)
    assert traced(convolution, x, kernel) == forward
    gradient = traced(jax.grad(lambda x, k: convolution(x, k).sum(), argnums=(0, 1)), x, kernel)
    assert gradient == pytest.approx(2 * forward)


def test_flops_under_shard_map_are_summed_over_devices():
    mesh = AbstractMesh((4, 2), ("data", "tensor"), axis_types=(AxisType.Auto, AxisType.Auto))
    kernel, spec = jnp.ones((8, 8)), PartitionSpec("data")
    function = jax.shard_map(lambda x: x @ kernel, mesh=mesh, in_specs=spec, out_specs=spec, axis_names={"data"})
    assert traced(function, jnp.ones((12, 8))) == 2 * 12 * 8 * 8


def test_model_flops_utilization():
    assert mfu(4e12, 0.5, 8, 10e12) == pytest.approx(0.1)
    assert mfu(None, 0.5, 8, 10e12) is None
    assert mfu(4e12, 0.5, 8, None) is None
