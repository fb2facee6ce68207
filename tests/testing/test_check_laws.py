"""`check_laws` checks a user's recipe."""

import pytest
from PIL import Image

from jaxdl.errors import UserError
from jaxdl.testing import check_laws

RECIPE = """
import flax.linen as nn
import jax.numpy as jnp
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.tasks.image_classification import ImageClassification


class Model(nn.Module):
    dropout: float = 0.1

    @nn.compact
    def __call__(self, image, *, train):
        features = nn.relu(nn.Conv(8, (3, 3), strides=2)(image)).mean(axis=(1, 2))
        features = nn.Dropout(self.dropout)(features, deterministic=not train)
        return nn.Dense(2)(features{coupling})


@auto_config
def experiment(steps: int = 500) -> Experiment:
    return Experiment(
        task=ImageClassification(Model()),
        data=Data(
            train=Dataset("folder:{folder}", "train[:70%]"),
            evals={{"validation": Dataset("folder:{folder}", "train[70%:]")}},
            batch_size=32,
        ),
        optimizers={{"train": optax.adam(0.03)}},
        steps=steps,
    )
"""


@pytest.fixture
def write_recipe(tmp_path):
    for label, color in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (8, 8), (color[0], color[1] + number, color[2])).save(
                tmp_path / "images" / label / f"{number}.png"
            )

    def write(name, coupling=""):
        path = tmp_path / f"{name}.py"
        path.write_text(RECIPE.format(folder=tmp_path / "images", coupling=coupling))
        return str(path)

    return write


def test_a_user_recipe_satisfies_the_laws(write_recipe):
    outcomes = check_laws(write_recipe("my_flowers"))
    assert {name for name, outcome in outcomes.items() if outcome == "holds"} == {
        "repeatable",
        "resumable",
        "devices",
        "pmap",
        "accumulation",
        "evaluation",
        "learns",
        "predicts",
        "pictures",
        "files",
        "ids",
        "forward mode",
    }
    assert outcomes["causal"] == "the model is not causal"
    assert outcomes["padding"] == "no feature is padded"


def test_a_violated_law_is_named(write_recipe):
    recipe = write_recipe("coupled_flowers", coupling=" - features.mean(axis=0)")  # an example depends on its batch
    with pytest.raises(AssertionError, match="breaks the law 'accumulation'"):
        check_laws(recipe, names=["accumulation"])


def test_an_unknown_law_is_refused(write_recipe):
    with pytest.raises(UserError, match="no law 'repeatabel'; did you mean 'repeatable'"):
        check_laws(write_recipe("checked_flowers"), names=["learns", "repeatabel"])
    with pytest.raises(UserError, match="no law 'resume'"):
        check_laws(write_recipe("checked_flowers"), "resume")
