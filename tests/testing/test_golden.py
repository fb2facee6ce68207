"""Law 8: stated settings of recipes and parameters of their `tiny()` match golden files.

A difference means that a recipe trains another model than before. To accept it, run

  JAXDL_UPDATE_GOLDEN=1 python -m pytest tests/testing/test_golden.py

and review the diff. Defaults are not in the files, so that a release of a dependency changes none of them.
"""

import json

import jax
import numpy as np
import pytest
from goldens import golden

from jaxdl.config import resolve, trust
from jaxdl.config.experiment import build
from jaxdl.config.overrides import as_overrides
from jaxdl.config.recipes import load_recipe, recipes, repository_root
from jaxdl.config.serialize import to_json
from jaxdl.config.settings import fingerprint, settings
from jaxdl.testing import tiny
from jaxdl.training.loop import make_program
from jaxdl.training.sources import load_sources
from jaxdl.training.state import leaf_names

RECIPES = [recipe.name for recipe in recipes(repository_root())]


def parameter_table(params) -> str:
    rows = [
        f"{name} {list(leaf.shape)} {leaf.dtype}" for name, leaf in zip(leaf_names(params), jax.tree.leaves(params))
    ]
    total = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    return "\n".join([*rows, f"total {total}"]) + "\n"


def stated(config) -> str:
    """Returns the settings that differ from their defaults, one line `path = value` each."""
    return "".join(f"{path or 'experiment'} = {value}\n" for path, value, default in settings(config) if not default)


@pytest.mark.parametrize("recipe", RECIPES)
def test_settings_match_the_golden_file(recipe):
    golden(recipe, "config", stated(resolve(recipe, [])))


@pytest.mark.parametrize("recipe", RECIPES)
def test_parameters_match_the_golden_file(recipe):
    experiment = build(tiny(load_recipe(recipe)))
    program = make_program(experiment, load_sources(experiment.data), jax.devices()[:1])
    golden(recipe, "parameters", parameter_table(program.abstract.params))


@pytest.mark.parametrize("recipe", RECIPES)
def test_runs_of_a_recipe_open_without_trust(recipe):
    loaded = load_recipe(recipe)
    for config in (resolve(loaded, []), tiny(loaded)):
        trust.check(json.loads(to_json(config, recipe)), recipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_mutated_configuration_is_detected(recipe, monkeypatch):
    monkeypatch.delenv("JAXDL_UPDATE_GOLDEN", raising=False)
    mutated = stated(resolve(recipe, ["steps=7"]))
    with pytest.raises(AssertionError):
        golden(recipe, "config", mutated)


@pytest.mark.parametrize("recipe", RECIPES)
def test_seeds_of_a_sweep_are_overrides_of_the_recipe(recipe):
    from jaxdl.config.recipes import sweep

    loaded = load_recipe(recipe)
    runs = [resolve(loaded, as_overrides(run)) for run in sweep(loaded)]
    assert len({fingerprint(run) for run in runs}) == len(runs)
