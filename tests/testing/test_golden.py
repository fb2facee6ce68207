"""Law 8: stated settings of recipes match golden files; test_laws.py checks the parameters of their `tiny()`.

A difference means that a recipe trains another model than before. To accept it, run

  JAXDL_UPDATE_GOLDEN=1 python -m pytest tests/testing

and review the diff. Defaults are not in the files, so that a release of a dependency changes none of them.
"""

import json

import pytest
from goldens import golden

from jaxdl.config import resolve, trust
from jaxdl.config.overrides import as_overrides
from jaxdl.config.recipes import load_recipe, recipes, repository_root
from jaxdl.config.serialize import to_json
from jaxdl.config.settings import fingerprint, settings
from jaxdl.testing import tiny

RECIPES = [recipe.name for recipe in recipes(repository_root())]


def stated(config) -> str:
    """Returns the settings that differ from their defaults, one line `path = value` each."""
    return "".join(f"{path or 'experiment'} = {value}\n" for path, value, default in settings(config) if not default)


@pytest.mark.parametrize("recipe", RECIPES)
def test_settings_match_the_golden_file(recipe):
    golden(recipe, "config", stated(resolve(recipe, [])))


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
