"""Seeds of single sources of randomness: each changes its own draws only, and equal ones are those of one seed."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxdl.config import resolve
from jaxdl.config.experiment import Seeds, build
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import UserError
from jaxdl.testing import tiny
from jaxdl.testing.laws import Bench
from jaxdl.training.sources import training_batches

RECIPE = "experiments/autoencoder/fashion_restoration.py"


@pytest.fixture(scope="module")
def draws():
    """Function from seeds to (initial parameters, indices, transformed images, losses after a step)."""
    config = tiny(load_recipe(RECIPE))
    base = dataclasses.replace(build(config), seed=3)

    def run(**seeds):
        experiment = dataclasses.replace(base, seeds=Seeds(**seeds))
        bench = Bench(experiment)
        program = bench.program()
        batch = training_batches(bench.sources.train, experiment, program.rows).at(0)
        params = jax.device_get(program.init().params)
        same = Bench(dataclasses.replace(experiment, seeds=Seeds(noise=seeds.get("noise"))))
        return params, batch["index"], batch["image"], same.steps(same.program(), 1)[1]

    return run


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


@pytest.mark.parametrize(("source", "changed"), [("init", 0), ("order", 1), ("noise", 3)])
def test_a_seed_changes_its_own_draws_only(draws, source, changed):
    before, after = draws(), draws(**{source: 4})
    differs = {place for place, (a, b) in enumerate(zip(before, after)) if not equal(a, b)}
    assert differs - ({2} if source == "order" else set()) == {changed}


def test_equal_seeds_of_all_sources_are_the_seed_of_the_run(draws):
    assert all(equal(a, b) for a, b in zip(draws(), draws(init=3, order=3, augment=3, noise=3)))


def test_seeds_are_settings_of_every_recipe():
    experiment = build(resolve(load_recipe("experiments/cnn/digits.py"), ["seeds.order=7", "seed=2"]))
    assert [experiment.seeds_of(source) for source in ("init", "order", "augment", "noise")] == [(2,), (7,), (2,), (2,)]
    ensemble = dataclasses.replace(experiment, ensemble=2)
    assert [ensemble.seeds_of(source) for source in ("init", "order")] == [(4, 5), (14, 15)]
    with pytest.raises(UserError, match=r"seeds\.order is -1; expected at least 0"):
        build(resolve(load_recipe("experiments/cnn/digits.py"), ["seeds.order=-1"]))
