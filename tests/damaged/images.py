"""Recipe on eight-pixel images, for the tests that damage a run and its prepared data."""

import numpy as np
import optax
import tensorflow_datasets as tfds
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.builders._base import ExamplesBuilder, array, classes
from jaxdl.data.dataset import Data, Dataset
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.checkpoint import CheckpointPolicy


class Builder(ExamplesBuilder, skip_registration=True):
    """`image` uint8 [8, 8, 1] and `label`: the half with the bright pixels."""

    name = "damaged_images"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"image": array(8, 8, 1), "label": classes("left", "right")}

    def examples(self):
        return {"train": _images(48, seed=0), "test": _images(16, seed=1)}


def _images(count: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 128, (count, 8, 8, 1), np.uint8)
    labels = rng.integers(0, 2, count)
    for image, label in zip(images, labels):
        image[:, 4 * label : 4 * label + 4] += 100
    return [{"image": image, "label": int(label)} for image, label in zip(images, labels)]


@auto_config
def experiment(steps: int = 4, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(ConvNet(num_classes=2, channels=(8,), depth=1)),
        data=Data(
            train=Dataset("tests.damaged.images", "train"),
            evals={"validation": Dataset("tests.damaged.images", "test")},
            batch_size=16,
        ),
        optimizers={"train": optax.sgd(0.1, momentum=0.9)},
        ema=0.5,
        steps=steps,
        seed=seed,
        log_every=1,
        eval_every=2,
        save_every=2,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
