"""Optimizer factories, schedules, weight-decay masks and EMA decay."""

import inspect
import re
from typing import Any

import fiddle as fdl
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from fiddle import daglish

from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe, recipes, repository_root
from jaxdl.errors import UserError
from jaxdl.testing import tiny
from jaxdl.training.by_path import freeze, scale_by_path
from jaxdl.training.optimizers import (
    adam,
    adamw,
    layer_decay,
    learning_rate_schedule,
    muon,
    muon_dimensions,
    power_average,
    sgd,
    weight_decay_mask,
)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.25])
def test_a_power_ema_has_the_requested_width(width):
    decay, count = power_average(width), 20_000
    decays = np.array([0.0] + [decay(step) for step in range(2, count + 1)])
    # Weight of each step at the end: its own rate times all later decays.
    weights = (1 - decays) * np.append(np.cumprod(decays[::-1])[::-1][1:], 1.0)
    time = np.arange(1, count + 1) / count
    mean = np.sum(weights * time)
    np.testing.assert_allclose(np.sum(weights), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.sum(weights * (time - mean) ** 2)), width, rtol=1e-2)


def test_a_power_ema_wider_than_a_uniform_average_is_refused():
    with pytest.raises(UserError, match=r"power_average\(0.3\)"):
        power_average(0.3)


def test_layer_decay_decreases_with_depth():
    names = ["encoder/embed/word", *(f"encoder/stack/block_{number}/kernel" for number in range(3)), "head/kernel"]
    params = nn.meta.unbox({})
    for name in names:
        node = params
        for part in name.split("/")[:-1]:
            node = node.setdefault(part, {})
        node[name.split("/")[-1]] = jnp.ones(2)
    decay = scale_by_path(layer_decay(0.5, 3))
    updates, _ = decay.update(params, decay.init(params))
    flat = {"/".join(key.key for key in path): float(leaf[0]) for path, leaf in jax.tree.leaves_with_path(updates)}
    assert [flat[name] for name in names] == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]
    with pytest.raises(UserError, match=r"layer_decay\(0\)"):
        layer_decay(0, 3)
    with pytest.raises(UserError, match="scale_by_path"):
        scale_by_path(layer_decay(0.5, 4)).init(params)


def test_muon_is_used_for_kernels_of_blocks():
    block = {"query": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}}
    scanned = {"query": {"kernel": jnp.ones((3, 4, 6)), "bias": jnp.ones((3, 6))}, "in": jnp.ones((3, 2, 4, 6))}
    params = {"embed": {"embedding": jnp.ones((9, 4))}, "stack": {"block_0": block, "blocks": scanned}}
    numbers = muon_dimensions({**params, "head": {"kernel": jnp.ones((4, 9))}})
    assert numbers["embed"]["embedding"] is None
    assert numbers["head"]["kernel"] is None
    assert numbers["stack"]["block_0"]["query"] == {"kernel": (0, 1), "bias": None}
    assert numbers["stack"]["blocks"]["query"] == {"kernel": (1, 2), "bias": None}
    assert numbers["stack"]["blocks"]["in"] == (2, 3)
    boxed = jax.tree.map(lambda leaf: nn.LogicallyPartitioned(leaf, (None,) * leaf.ndim), params)
    dimensions = jax.tree.leaves(muon_dimensions(boxed), is_leaf=lambda leaf: isinstance(leaf, tuple))
    assert len([dimension for dimension in dimensions if isinstance(dimension, tuple)]) == 3


COSINE = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 20)


@pytest.mark.parametrize(
    ("factory", "reference"),
    [
        (
            lambda: adamw(0.1, 20, warmup=0.1, weight_decay=0.2, clip_norm=0.5),
            lambda: optax.chain(
                optax.clip_by_global_norm(0.5), optax.adamw(COSINE, weight_decay=0.2, mask=weight_decay_mask)
            ),
        ),
        (lambda: adam(0.1, 20, warmup=2, clip_norm=0), lambda: optax.adam(COSINE)),
        (lambda: adam(0.1, 20, schedule="constant", b1=0.5), lambda: optax.adam(0.1, b1=0.5)),
        (
            lambda: sgd(0.1, 20, warmup=2, weight_decay=0.3, scales={"stack": 0.5}, frozen=("head",)),
            lambda: freeze(
                optax.chain(
                    optax.add_decayed_weights(0.3, mask=weight_decay_mask),
                    optax.sgd(COSINE, momentum=0.9, nesterov=True),
                    scale_by_path({"stack": 0.5}),
                ),
                ("head",),
            ),
        ),
        (
            lambda: muon(0.1, 20, adam_learning_rate=0.2, warmup=0.1, weight_decay=0.1, b2=0.98),
            lambda: optax.contrib.muon(
                COSINE,
                adam_learning_rate=optax.warmup_cosine_decay_schedule(0.0, 0.2, 2, 20),
                weight_decay=0.1,
                adam_b2=0.98,
                muon_weight_dimension_numbers=muon_dimensions,
            ),
        ),
    ],
    ids=["adamw", "adam", "constant", "sgd", "muon"],
)
def test_factories_equal_their_chains_of_optax_bitwise(factory, reference):
    def trained(optimizer, steps=4):
        block = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}
        params = {"stack": {"block_0": block}, "head": {"kernel": jnp.ones((3, 2))}}
        state = optimizer.init(params)
        for step in range(steps):
            gradients = jax.tree.map(lambda leaf, step=step: jnp.sin(leaf + step), params)
            updates, state = jax.jit(optimizer.update)(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    jax.tree.map(np.testing.assert_array_equal, trained(factory()), trained(reference()))


def test_schedules_have_warmup_constant_and_decay_in_order():
    def values(*args, **kwargs):
        rate: Any = learning_rate_schedule(*args, **kwargs)
        return [round(float(rate(step)), 6) for step in range(0, 13, 2)]

    assert values(2.0, 12, 4, "linear", hold=4) == [0.0, 1.0, 2.0, 2.0, 2.0, 1.0, 0.0]
    assert values(2.0, 12, 4 / 12, "constant") == [0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert values(2.0, 12, 0, "linear", final=0.5) == [2.0, 1.833333, 1.666667, 1.5, 1.333333, 1.166667, 1.0]
    assert values(2.0, 12, 4, lambda step: 0.5**step) == [0.0, 1.0, 2.0, 0.5, 0.125, 0.03125, 0.007812]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "cosin"}, "schedule is 'cosin'; did you mean 'cosine'"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"warmup": 20}, "take 20 of 20 steps"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0"),
    ],
)
def test_invalid_settings_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        adamw(0.1, 20, **arguments)


@pytest.mark.parametrize("recipe", [recipe.name for recipe in recipes(repository_root())])
def test_optimizer_settings_have_the_same_paths_in_every_recipe(recipe):
    """`learning_rate` changes the peak and keeps the schedule.

    Every optimizer has `weight_decay` and `clip_norm`.
    """
    loaded = load_recipe(recipe)
    for phase in resolve(loaded).optimizers:

        def settings(*changes, phase=phase):
            named = [f"optimizers.{phase}.{change}" for change in changes]
            config = resolve(loaded, named).optimizers[phase]
            fdl.build(config)
            return fdl.get_callable(config), config.__arguments__

        factory, before = settings()
        assert factory in (adam, adamw, muon, sgd)
        changes = {"learning_rate": 1e-3, "clip_norm": 0.25} | ({} if factory is adam else {"weight_decay": 0.125})
        _, after = settings(*(f"{name}={value}" for name, value in changes.items()))
        assert after == {**before, **changes}

        def rate(arguments):
            names = ("steps", "warmup", "schedule", "hold", "final")
            shape = {name: value for name, value in arguments.items() if name in names}
            defaults = inspect.signature(adam).parameters
            shape = {name: defaults[name].default for name in names[1:]} | shape
            value: Any = learning_rate_schedule(arguments["learning_rate"], **shape)
            steps = np.linspace(0, shape["steps"], 9, dtype=int)
            return np.array([value(step) if callable(value) else value for step in steps]) / arguments["learning_rate"]

        np.testing.assert_allclose(rate(after), rate(before), rtol=1e-5, atol=1e-7)


SCANNED = [recipe.name for recipe in recipes(repository_root()) if "scan=True" in recipe.path.read_text()]


@pytest.mark.parametrize("recipe", SCANNED)
def test_stacked_blocks_decay_the_same_parameters_as_blocks_side_by_side(recipe):
    def mask(scan):
        config = tiny(load_recipe(recipe))
        for node, _ in daglish.iterate(config.task):
            if isinstance(node, fdl.Buildable) and "scan" in node.__arguments__:
                node.scan = scan
        task, tokens = build(config).task, jnp.zeros((2, 8), jnp.int32)
        batch = {"tokens": tokens, "index": jnp.arange(2), "weight": jnp.ones(2), "valid": jnp.ones((2, 8))}
        params, _ = jax.eval_shape(task.init, jax.random.key(0), batch)
        decayed = weight_decay_mask(nn.unbox(params))
        assert jax.tree.leaves(weight_decay_mask(params)) == jax.tree.leaves(decayed)  # boxed or not
        return {
            re.sub(r"/blocks?(_\d+)?/", "/block/", jax.tree_util.keystr(path, simple=True, separator="/")): leaf
            for path, leaf in jax.tree.leaves_with_path(decayed)
        }

    stacked = mask(True)
    assert stacked == mask(False)
    names = {path.rpartition("/")[2]: leaf for path, leaf in stacked.items()}
    assert {name for name, leaf in names.items() if leaf} == {"kernel", "embedding"}
