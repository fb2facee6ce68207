"""Digests of the modules that a configuration uses."""

import sys

import pytest

from jaxdl.config import resolve
from jaxdl.config.recipes import load_recipe
from jaxdl.runs import code, manifest

RECIPE = """
import flax.linen as nn
import optax
from fiddle.experimental.auto_config import auto_config
from jaxdl import Data, Dataset, Experiment
from jaxdl.tasks.image_classification import ImageClassification
from {name}_models import Net

@auto_config
def experiment(steps: int = 4, seed: int = 0):
    return Experiment(
        task=ImageClassification(Net(10)),
        data=Data(train=Dataset("digits", "train"), batch_size=8),
        optimizers={{"train": optax.sgd(0.1)}},
        steps=steps,
        seed=seed,
    )
"""
MODELS = "import {name}_widths as widths\nimport flax.linen as nn\n\nclass Net(nn.Dense):\n    pass\n"


@pytest.fixture
def digests(tmp_path):
    """Returns a function that writes the recipe NAME.py with its modules and returns digests.

    The modules are NAME_models.py and NAME_widths.py.
    """
    names = []

    def digests(name, widths="WIDTH = 4"):
        for file, text in ((name, RECIPE), (f"{name}_models", MODELS), (f"{name}_widths", widths)):
            (tmp_path / f"{file}.py").write_text(text.format(name=name))
            names.append(file)
        recipe = load_recipe(str(tmp_path / f"{name}.py"))
        return code.digests(resolve(recipe), recipe.name)

    yield digests
    for name in names:
        sys.modules.pop(name, None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def test_digests_cover_the_recipe_and_the_modules_that_it_imports_at_any_depth(digests):
    assert list(digests("flowers")) == ["jaxdl", "flowers", "flowers_models", "flowers_widths"]


def test_an_edit_of_an_imported_module_changes_only_its_digest(digests, tmp_path):
    before = digests("shells")
    (tmp_path / "shells_widths.py").write_text("WIDTH = 8")
    recipe = load_recipe(str(tmp_path / "shells.py"))
    after = code.digests(resolve(recipe), recipe.name)
    assert [name for name, *_ in manifest.changes(before, after)] == ["shells_widths"]


def test_recording_a_result_is_no_change_of_the_recipe(digests, tmp_path):
    digests("tulips")
    file, found = tmp_path / "tulips.py", []
    for line in ("Result: none recorded yet", "Result: 0.9 test accuracy", "Run: python"):
        file.write_text(f'"""Tulips.\n\n{line}\n"""\n' + RECIPE.format(name="tulips"))
        recipe = load_recipe(str(file))
        found.append(code.digests(resolve(recipe), recipe.name))
    assert manifest.changes(found[0], found[1]) == []
    assert [name for name, *_ in manifest.changes(found[1], found[2])] == ["tulips"]


def test_recipes_of_the_repository_include_their_shared_module():
    recipe = load_recipe("experiments/gan/fashion_dcgan.py")
    modules = code.digests(resolve(recipe), recipe.name)
    assert {"experiments.gan.fashion_dcgan", "experiments._fashion_mnist"} <= modules.keys()
    assert not any(name.startswith(("flax", "optax", "jaxdl.")) for name in modules)


def test_runs_without_digests_have_no_changes():
    assert manifest.changes(None, {"recipe": "a"}) == []


def test_a_module_that_is_no_longer_used_counts_as_a_change():
    assert manifest.changes({"recipe": "a" * 64, "models": "b" * 64}, {"recipe": "a" * 64}) == [
        ("models", "b" * 8, "absent")
    ]
