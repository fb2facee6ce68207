"""Freezing, and learning rates by path."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UserError
from jaxdl.training.by_path import freeze, scale_by_path, train_only

PATHS = ("stem/conv/kernel", "stage1/conv/kernel", "stage1/norm/scale", "stage10/conv/kernel", "head/bias")


def tree(value=1.0) -> Any:
    nested = {}
    for path in PATHS:
        root, *middle, last = path.split("/")
        node = nested.setdefault(root, {})
        for name in middle:
            node = node.setdefault(name, {})
        node[last] = jnp.full(3, value)
    return nested


def updates(optimizer, steps=2):
    """Computes {path: size of the update}."""
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
def test_frozen_paths_have_no_updates_and_no_optimizer_state(patterns, frozen):
    optimizer = freeze(optax.adamw(0.1, weight_decay=0.1), patterns)
    assert {path for path, moved in updates(optimizer).items() if moved == 0} == frozen
    size = sum(leaf.size for leaf in jax.tree.leaves(optimizer.init(tree())))
    assert size == 1 + 2 * 3 * (len(PATHS) - len(frozen))


def test_trainable_paths_are_updated_as_without_freezing():
    unfrozen = updates(optax.adamw(0.1))
    with_frozen = updates(freeze(optax.adamw(0.1), ("stem",)))
    assert {**with_frozen, "stem/conv/kernel": 0} == {**unfrozen, "stem/conv/kernel": 0}


def test_clipping_norms_exclude_frozen_paths():
    gradients = tree(0.5)
    optimizer = freeze(optax.clip_by_global_norm(1.0), ("stage*", "stem"))
    updates: Any = optimizer.update(gradients, optimizer.init(tree()))[0]
    np.testing.assert_allclose(updates["head"]["bias"], 0.5)  # norm sqrt(3) / 2, below 1
    assert float(optax.tree.norm(updates)) < 1


def test_logical_axis_boxes_are_preserved():
    params = {"head": {"kernel": nn.LogicallyPartitioned(jnp.ones((2, 3)), ("a", "b")), "bias": jnp.ones(3)}}
    state = freeze(optax.sgd(0.1, momentum=0.9), ("*/bias",)).init(params)
    boxes = jax.tree.leaves(state, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    assert [box.names for box in boxes] == [("a", "b")]


def test_learning_rate_factors_multiply():
    moved = updates(optax.chain(optax.sgd(0.1), scale_by_path({"stage*": 0.1, "stage1/norm": 0.5})), steps=1)
    expected = [0.05, 0.005, 0.0025, 0.005, 0.05]
    np.testing.assert_allclose([moved[path] for path in PATHS], expected, rtol=1e-3)


@pytest.mark.parametrize("make", [lambda p: freeze(optax.sgd(0.1), (p,)), lambda p: scale_by_path({p: 0.5})])
def test_an_unmatched_pattern_is_refused_with_the_nearest_paths(make):
    message = r"matches 'stage1/cnv'; nearest: stage1/conv, .*paths begin with: head, stage1,"
    with pytest.raises(UserError, match=message) as raised:
        make("stage1/cnv").init(tree())
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="matches 'stag1'"):
        jax.eval_shape(make("stag1").init, tree())


def test_freezing_everything_is_refused():
    with pytest.raises(UserError, match=r"freeze: \* leave no parameter to train"):
        freeze(optax.sgd(0.1), ("*",)).init(tree())


def test_only_trainable_paths_are_updated():
    optimizer = train_only(optax.adamw(0.1, weight_decay=0.1), ("*/norm", "head"))
    assert {path for path, moved in updates(optimizer).items() if moved} == {"stage1/norm/scale", "head/bias"}
    assert sum(leaf.size for leaf in jax.tree.leaves(optimizer.init(tree()))) == 1 + 2 * 3 * 2
    with pytest.raises(UserError, match="train_only: no parameter's path begins with or matches 'tail'"):
        train_only(optax.sgd(0.1), ("tail",)).init(tree())
