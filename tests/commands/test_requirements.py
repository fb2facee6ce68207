"""Recipes that are initialized from the run of another recipe."""

import sys
from pathlib import Path

import pytest

from jaxdl.commands.cli import main
from jaxdl.config import resolve
from jaxdl.config.recipes import load_recipe, recipe_file, recipes, repository_root

FIRST = """
from fiddle.experimental.auto_config import auto_config
from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.images import MockImages
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.checkpoint import InitFromRun
from jaxdl.training.optimizers import adam


@auto_config
def experiment(steps: int = 2) -> Experiment:
    return Experiment(
        task=ImageClassification(ConvNet(num_classes=10, channels=(4,))),
        data=Data(train=MockImages(shape=(8, 8, 1), examples=16), evals={}, batch_size=8),
        optimizers={"train": adam(learning_rate=1e-3, steps=steps)},
        steps=steps,
    )
"""


@pytest.fixture
def second_recipe(tmp_path, monkeypatch) -> Path:
    """Recipe that is initialized from the run "first" in the working directory."""
    monkeypatch.chdir(tmp_path)
    for module in ("first_recipe", "second_recipe"):  # imported by another test
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "first_recipe.py").write_text(FIRST)
    start = 'start=InitFromRun(run="first", groups=("classifier",)),\n        steps=steps'
    requires = 'REQUIRES = {"start.run": "first_recipe.py"}\n\n\n@auto_config'
    text = FIRST.replace("steps=steps,\n    )", start + ",\n    )").replace("@auto_config", requires)
    (tmp_path / "second_recipe.py").write_text(text)
    return tmp_path


def test_a_missing_run_is_named_with_the_command_that_trains_it(second_recipe, capsys):
    assert main(("--config=second_recipe.py", "--workdir=second")) == 2
    error = capsys.readouterr().err
    assert "start.run: first has no checkpoint" in error
    assert "jaxdl train --config=first_recipe.py --workdir=first" in error
    assert not (second_recipe / "second").exists()


def test_with_requirements_trains_the_missing_run_first(second_recipe):
    assert main(("--config=second_recipe.py", "--workdir=second", "--with_requirements")) == 0
    assert (second_recipe / "first" / "result.json").is_file()
    assert (second_recipe / "second" / "result.json").is_file()


def test_a_recipe_without_initialization_requires_no_run(second_recipe):
    assert main(("--config=second_recipe.py", "--workdir=second", "--set=start=None")) == 0
    assert not (second_recipe / "first").exists()


REQUIRING = [r.name for r in recipes(repository_root()) if "\nREQUIRES = " in r.path.read_text()]


@pytest.mark.parametrize("name", REQUIRING)
def test_requirements_have_a_recipe_and_a_folder_of_the_configuration(name):
    recipe = load_recipe(name)
    config = resolve(recipe, [])
    for path, required in recipe.module.REQUIRES.items():
        assert recipe_file(required) is not None
        value = config
        for attribute in path.split("."):
            value = getattr(value, attribute)
        assert value == f"runs/{Path(required).stem}"


def test_an_unfinished_run_is_used_with_a_warning(second_recipe, capsys):
    assert main(("--config=first_recipe.py", "--workdir=first")) == 0
    assert main(("--config=second_recipe.py", "--workdir=second")) == 0
    assert "not finished" not in capsys.readouterr().err
    (second_recipe / "first" / "result.json").unlink()
    assert main(("--config=second_recipe.py", "--workdir=third")) == 0
    assert "warning: start.run: first is not finished; its checkpoint is used" in capsys.readouterr().err
