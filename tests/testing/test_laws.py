"""Every recipe obeys every law (DESIGN: laws over every `tiny()`)."""

import functools

import pytest

from jaxdl.config import serialize
from jaxdl.config.recipes import load_recipe, recipes, repository_root
from jaxdl.models.layers.norms import group_norm
from jaxdl.testing import tiny
from jaxdl.testing.laws import (
    Bench,
    law_accumulation,
    law_causal,
    law_devices,
    law_evaluation,
    law_learns,
    law_padding,
    law_pmap,
    law_predicts,
    law_repeatable,
    law_resumable,
    padded_features,
    without_dropout,
)

RECIPES = [recipe.name for recipe in recipes(repository_root())]
ONE_PER_FAMILY = (  # the fast tier
    "experiments/cnn/digits.py",
    "experiments/rnn/adding_problem.py",
    "experiments/autoencoder/fashion_vae.py",
    "experiments/gan/fashion_dcgan.py",
    "experiments/diffusion/fashion_edm.py",
    "experiments/transformer/austen_gpt.py",
)


def marks(name: str) -> list[pytest.MarkDecorator]:
    group = pytest.mark.xdist_group(name)  # a recipe's tests share its compiled programs
    return [group] if name in ONE_PER_FAMILY else [group, pytest.mark.slow]


each_recipe = pytest.mark.parametrize("recipe", [pytest.param(name, marks=marks(name)) for name in RECIPES])


def test_the_fast_tier_has_a_recipe_of_each_family():
    assert set(ONE_PER_FAMILY) <= set(RECIPES)
    assert {name.split("/")[1] for name in ONE_PER_FAMILY} == {name.split("/")[1] for name in RECIPES}


@functools.lru_cache(maxsize=2)  # a recipe's tests follow each other
def bench_of(recipe: str) -> Bench:
    return Bench(serialize.build(tiny(load_recipe(recipe))))


@functools.lru_cache(maxsize=2)
def still_bench_of(recipe: str) -> Bench:
    config = tiny(load_recipe(recipe))
    before = serialize.fingerprint(config)
    config = without_dropout(config)
    return bench_of(recipe) if serialize.fingerprint(config) == before else Bench(serialize.build(config))


@each_recipe
def test_repeatable(recipe):
    law_repeatable(bench_of(recipe))


@each_recipe
def test_resumable(recipe, tmp_path):
    law_resumable(bench_of(recipe), tmp_path)


@each_recipe
def test_devices(recipe):
    law_devices(still_bench_of(recipe))


@each_recipe
def test_pmap(recipe):
    law_pmap(still_bench_of(recipe))


@each_recipe
def test_accumulation(recipe):
    bench = still_bench_of(recipe)
    if bench.experiment.task.batch_coupled:
        pytest.skip(f"not equal by nature: {bench.experiment.task.batch_coupled}")
    law_accumulation(bench)


@pytest.mark.xdist_group("experiments/cnn/digits.py")
def test_accumulation_without_batch_statistics():
    """The network of a recipe that law 5 passes over, with a norm that keeps examples apart."""
    config = without_dropout(tiny(load_recipe("experiments/cnn/digits.py")))
    config.task.model.norm = group_norm
    law_accumulation(Bench(serialize.build(config)))


@each_recipe
def test_evaluation(recipe):
    law_evaluation(bench_of(recipe))


@each_recipe
def test_learns(recipe):
    law_learns(bench_of(recipe))


@each_recipe
def test_predicts(recipe):
    law_predicts(bench_of(recipe))


@each_recipe
def test_causal(recipe):
    bench = bench_of(recipe)
    if bench.experiment.task.causal is None:
        pytest.skip("not causal: the model does not read tokens from left to right")
    law_causal(bench)


@each_recipe
def test_padding(recipe):
    bench = bench_of(recipe)
    if not padded_features(bench):
        pytest.skip("nothing is padded: no feature has a length of its own")
    law_padding(bench)
