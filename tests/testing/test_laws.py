"""Every recipe satisfies every law.

Law 8: the parameters of a recipe's `tiny()` match a golden file. To accept a change, see test_golden.py.
"""

import functools

import fiddle as fdl
import jax
import numpy as np
import pytest
from fiddle import daglish
from goldens import golden
from tiers import ONE_PER_FAMILY

from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe, recipes, repository_root, sweep
from jaxdl.config.settings import as_config, fingerprint
from jaxdl.data.dataset import Dataset
from jaxdl.models.layers.norms import group_norm
from jaxdl.testing import tiny
from jaxdl.testing.laws import (
    LAWS,
    Bench,
    Law,
    law_accumulation,
    law_devices_and_accumulation,
    without_dropout,
)
from jaxdl.training.state import leaf_names

RECIPES = [recipe.name for recipe in recipes(repository_root())]
TOGETHER = Law("devices-accumulation", law_devices_and_accumulation, without_dropout=True)


def law_parameters(bench: Bench, recipe: str) -> None:
    """Law 8: the parameters match the golden file."""
    params = bench.program().abstract.params
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params)]
    rows = [f"{name} {list(shape)} {dtype}" for name, (shape, dtype) in zip(leaf_names(params), shapes)]
    total = sum(int(np.prod(shape)) for shape, _ in shapes)
    golden(recipe, "parameters", "\n".join([*rows, f"total {total}"]) + "\n")


def laws_of(name: str) -> tuple[Law, ...]:
    """Returns the laws that are checked; one recipe of each family has separate steps for laws 3 and 5."""
    parameters = Law("parameters", functools.partial(law_parameters, recipe=name))
    if name in ONE_PER_FAMILY:
        return (*LAWS, parameters)
    return (*(law for law in LAWS if law.name not in ("devices", "accumulation")), TOGETHER, parameters)


each_law = pytest.mark.parametrize(
    ("recipe", "law"),
    # The tests of a recipe share its compiled programs.
    [
        pytest.param(name, law, id=f"{name}-{law.name}", marks=pytest.mark.xdist_group(name))
        for name in RECIPES
        for law in laws_of(name)
    ],
)


def test_the_fast_tier_has_a_recipe_of_each_family():
    assert set(ONE_PER_FAMILY) <= set(RECIPES)
    assert {name.split("/")[1] for name in ONE_PER_FAMILY} == {name.split("/")[1] for name in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_at_test_size_needs_no_prepared_data(recipe):
    values = [value for value, _ in daglish.iterate(as_config(tiny(load_recipe(recipe))))]
    names = [value.name for value in values if isinstance(value, fdl.Buildable) and fdl.get_callable(value) is Dataset]
    assert names == []


@functools.lru_cache(maxsize=2)  # the tests of a recipe are consecutive
def bench_of(recipe: str) -> Bench:
    return Bench(build(tiny(load_recipe(recipe))))


@functools.lru_cache(maxsize=2)
def still_bench_of(recipe: str) -> Bench:
    config, bench = tiny(load_recipe(recipe)), bench_of(recipe)
    before = fingerprint(config)
    config = without_dropout(config)
    return bench if fingerprint(config) == before else Bench(build(config), bench)


@each_law
def test_law(recipe, law):
    bench = still_bench_of(recipe) if law.without_dropout else bench_of(recipe)
    reason = law.exemption(bench)
    if reason:
        pytest.skip(f"does not apply: {reason}")
    law.check(bench)


@pytest.mark.xdist_group("experiments/cnn/digits.py")
def test_accumulation_without_batch_statistics():
    """Uses the network of a recipe exempt from law 5, with a norm independent of the batch."""
    config = without_dropout(tiny(load_recipe("experiments/cnn/digits.py")))
    config.task.model.norm = group_norm
    law_accumulation(Bench(build(config)))


def wgan_gp():
    recipe = load_recipe("experiments/gan/fashion_dcgan.py")
    return resolve(tiny(recipe), sweep(recipe)[-1])


def inpainting():
    recipe = load_recipe("experiments/autoencoder/fashion_restoration.py")
    config = tiny(recipe)
    config.task.corruption = resolve(recipe, sweep(recipe)[-1]).task.corruption
    return config


@pytest.mark.parametrize("config", [wgan_gp, inpainting])
def test_sweep_values_with_another_loss_satisfy_laws_3_and_5(config):
    """A critic with several updates per update of the generator, and a loss over the missing pixels only."""
    law_devices_and_accumulation(Bench(build(without_dropout(config()))))
