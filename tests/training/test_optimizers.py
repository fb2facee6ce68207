"""Freezing and learning rates by path."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UserError
from jaxdl.training.optimizers import freeze, hidden_kernels, layer_decay, power_average, scale_by_path, train_only

PATHS = ("stem/conv/kernel", "stage1/conv/kernel", "stage1/norm/scale", "stage10/conv/kernel", "head/bias")


def tree(value=1.0) -> Any:
    made = {}
    for path in PATHS:
        first, *middle, last = path.split("/")
        node = made.setdefault(first, {})
        for name in middle:
            node = node.setdefault(name, {})
        node[last] = jnp.full(3, value)
    return made


def changed(optimizer, steps=2):
    """{path: how far it moved}."""
    params = tree()
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = jax.jit(optimizer.update)(tree(0.5), state, params)
        params = optax.apply_updates(params, updates)
    flat = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    return {path: float(jnp.abs(flat[path] - 1.0).max()) for path in PATHS}


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (("stem",), {"stem/conv/kernel"}),
        (("stage1",), {"stage1/conv/kernel", "stage1/norm/scale"}),
        (("stage1/", "head/bias"), {"stage1/conv/kernel", "stage1/norm/scale", "head/bias"}),
        (("stage*",), {"stage1/conv/kernel", "stage1/norm/scale", "stage10/conv/kernel"}),
        (("*/norm",), {"stage1/norm/scale"}),
        (("*/kernel", "stage1"), set(PATHS) - {"head/bias"}),
        ((), set()),
    ],
)
def test_frozen_paths_do_not_move_and_have_no_optimizer_state(patterns, frozen):
    optimizer = freeze(optax.adamw(0.1, weight_decay=0.1), patterns)
    assert {path for path, moved in changed(optimizer).items() if moved == 0} == frozen
    size = sum(leaf.size for leaf in jax.tree.leaves(optimizer.init(tree())))
    assert size == 1 + 2 * 3 * (len(PATHS) - len(frozen))


def test_what_is_not_frozen_moves_as_without_freezing():
    alone = changed(optax.adamw(0.1))
    with_frozen = changed(freeze(optax.adamw(0.1), ("stem",)))
    assert {**with_frozen, "stem/conv/kernel": 0} == {**alone, "stem/conv/kernel": 0}


def test_norms_inside_do_not_see_what_is_frozen():
    gradients = tree(0.5)
    optimizer = freeze(optax.clip_by_global_norm(1.0), ("stage*", "stem"))
    updates: Any = optimizer.update(gradients, optimizer.init(tree()))[0]
    np.testing.assert_allclose(updates["head"]["bias"], 0.5)  # norm sqrt(3) / 2, below 1
    assert float(optax.tree.norm(updates)) < 1


def test_boxes_with_axis_names_are_kept():
    params = {"head": {"kernel": nn.LogicallyPartitioned(jnp.ones((2, 3)), ("a", "b")), "bias": jnp.ones(3)}}
    state = freeze(optax.sgd(0.1, momentum=0.9), ("*/bias",)).init(params)
    boxes = jax.tree.leaves(state, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    assert [box.names for box in boxes] == [("a", "b")]


def test_factors_by_path_multiply():
    moved = changed(optax.chain(optax.sgd(0.1), scale_by_path({"stage*": 0.1, "stage1/norm": 0.5})), steps=1)
    expected = [0.05, 0.005, 0.0025, 0.005, 0.05]
    np.testing.assert_allclose([moved[path] for path in PATHS], expected, rtol=1e-3)


@pytest.mark.parametrize("make", [lambda p: freeze(optax.sgd(0.1), (p,)), lambda p: scale_by_path({p: 0.5})])
def test_a_pattern_that_matches_nothing_is_told_with_the_nearest_paths(make):
    message = r"matches 'stage1/cnv'; nearest: stage1/conv, .*paths begin with: head, stage1,"
    with pytest.raises(UserError, match=message) as raised:
        make("stage1/cnv").init(tree())
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="matches 'stag1'"):
        jax.eval_shape(make("stag1").init, tree())


def test_something_must_be_left_to_train():
    with pytest.raises(UserError, match=r"freeze: \* leave no parameter to train"):
        freeze(optax.sgd(0.1), ("*",)).init(tree())


@pytest.mark.parametrize("width", [0.02, 0.1, 0.25])
def test_a_power_average_has_the_width_that_was_asked_for(width):
    decay, count = power_average(width), 20_000
    decays = np.array([0.0] + [decay(step) for step in range(2, count + 1)])
    # How much each step counts in the end: its own share times all later decays.
    weights = (1 - decays) * np.append(np.cumprod(decays[::-1])[::-1][1:], 1.0)
    time = np.arange(1, count + 1) / count
    mean = np.sum(weights * time)
    np.testing.assert_allclose(np.sum(weights), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.sum(weights * (time - mean) ** 2)), width, rtol=1e-2)


def test_a_power_average_cannot_be_wider_than_an_even_one():
    with pytest.raises(UserError, match=r"power_average\(0.3\)"):
        power_average(0.3)


def test_what_alone_is_trained_moves_alone():
    optimizer = train_only(optax.adamw(0.1, weight_decay=0.1), ("*/norm", "head"))
    assert {path for path, moved in changed(optimizer).items() if moved} == {"stage1/norm/scale", "head/bias"}
    assert sum(leaf.size for leaf in jax.tree.leaves(optimizer.init(tree()))) == 1 + 2 * 3 * 2
    with pytest.raises(UserError, match="train_only: no parameter's path begins with or matches 'tail'"):
        train_only(optax.sgd(0.1), ("tail",)).init(tree())


def test_layers_further_below_the_head_move_less():
    names = ["encoder/embed/word", *(f"encoder/stack/block_{number}/kernel" for number in range(3)), "head/kernel"]
    params = nn.meta.unbox({})
    for name in names:
        node = params
        for part in name.split("/")[:-1]:
            node = node.setdefault(part, {})
        node[name.split("/")[-1]] = jnp.ones(2)
    decay = layer_decay(0.5, 3)
    updates, _ = decay.update(params, decay.init(params))
    flat = {"/".join(key.key for key in path): float(leaf[0]) for path, leaf in jax.tree.leaves_with_path(updates)}
    assert [flat[name] for name in names] == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]
    with pytest.raises(UserError, match=r"layer_decay\(0\)"):
        layer_decay(0, 3)
    with pytest.raises(UserError, match="scale_by_path"):
        layer_decay(0.5, 4).init(params)


def test_muon_is_for_the_kernels_of_blocks():
    block = {"query": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}}
    scanned = {"query": {"kernel": jnp.ones((3, 4, 6)), "bias": jnp.ones((3, 6))}, "in": jnp.ones((3, 2, 4, 6))}
    params = {"embed": {"embedding": jnp.ones((9, 4))}, "stack": {"block_0": block, "blocks": scanned}}
    numbers = hidden_kernels({**params, "head": {"kernel": jnp.ones((4, 9))}})
    assert numbers["embed"]["embedding"] is None
    assert numbers["head"]["kernel"] is None
    assert numbers["stack"]["block_0"]["query"] == {"kernel": (0, 1), "bias": None}
    assert numbers["stack"]["blocks"]["query"] == {"kernel": (1, 2), "bias": None}
    assert numbers["stack"]["blocks"]["in"] == (2, 3)
    boxed = jax.tree.map(lambda leaf: nn.LogicallyPartitioned(leaf, (None,) * leaf.ndim), params)
    found = jax.tree.leaves(hidden_kernels(boxed), is_leaf=lambda leaf: isinstance(leaf, tuple))
    assert len([each for each in found if isinstance(each, tuple)]) == 3
