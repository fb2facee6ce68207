"""Models whose outputs do not fit are refused in one line before the first step."""

import flax.errors
import flax.linen as nn
import numpy as np
import optax
import pytest
from fakes import Columns

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.errors import UserError
from jaxdl.models.transformer import Stack
from jaxdl.models.vit import VisionTransformer
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.training.loop import check, make_program
from jaxdl.training.sources import load_sources

LABEL = np.arange(16, dtype=np.int32) % 3


def images(side):
    return np.zeros((16, side, side, 1), np.uint8)


class Classifier(nn.Module):
    kind: str = ""

    @nn.compact
    def __call__(self, image, *, train):
        logits = nn.Dense(3)(image.reshape(image.shape[0], -1))
        outputs = {"sum": logits.sum(0), "pixels": logits[:, None], "pair": (logits, logits)}
        return (outputs | {"integers": logits.astype("int32")}).get(self.kind, logits)


class Language(nn.Module):
    @nn.compact
    def __call__(self, tokens, *, carry=None, train):
        return nn.Dense(9)(nn.Embed(9, 4)(tokens))[:, 0], None


def checked(task, evaluation=None, **columns):
    evals = {"validation": Columns(**(columns | (evaluation or {})))}
    data = Data(train=Columns(**columns), evals=evals, batch_size=8)
    sources = load_sources(data)
    check(make_program(Experiment(task, data, {"train": optax.sgd(0.1)}, steps=1), sources), sources)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sum", r"^the model returns the shape \(3,\); the task needs \[8, classes\]"),
        ("pixels", r"^the model returns the shape \(8, 1, 3\); the task needs \[8, classes\]"),
        ("pair", r"^the model returns tuple; the task needs \[8, classes\]"),
        ("integers", r"^the model returns int32, which has no gradient"),
    ],
)
def test_logits_of_another_shape(kind, message):
    with pytest.raises(UserError, match=message):
        checked(ImageClassification(Classifier(kind)), image=images(4), label=LABEL)


def test_language_models_without_a_time_axis():
    with pytest.raises(UserError, match=r"the model returns the shape \(8, 9\); the task needs \[8, 5, vocabulary\]"):
        checked(LanguageModelling(Language(), carried=False), tokens=np.ones((16, 6), np.int32))


def vision_transformer(patch):
    return ImageClassification(VisionTransformer(3, patch, Stack(8, 1, 2), positions="learned"))


@pytest.mark.parametrize(
    ("patch", "evaluation", "message"),
    [
        (3, {}, "the initial state cannot be computed: ValueError: .*patch=3 does not divide 4x4 pixels; set patch"),
        (2, {"image": images(6)}, "the evaluation cannot be computed: .*"),
        (2, {"image": images(4)[..., 0]}, "image has shape"),
    ],
)
def test_models_that_do_not_fit_the_images(patch, evaluation, message):
    with pytest.raises(UserError, match=message):
        checked(vision_transformer(patch), evaluation, image=images(4), label=LABEL)


def test_errors_in_a_user_s_code_are_left_to_the_command():
    with pytest.raises(flax.errors.ScopeParamShapeError, match="kernel"):
        checked(ImageClassification(Classifier()), {"image": images(6)}, image=images(4), label=LABEL)
