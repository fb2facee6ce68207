"""Recipe with every kind of value, for the tests of configurations."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.recipes import Recipe
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.image.transforms import RandomCrop, RandomFlip
from jaxdl.data.synthetic.images import MockImages
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.checkpoint import CheckpointPolicy

WIDE_KEEP = CheckpointPolicy(latest=5)
NORM = functools.partial(nn.LayerNorm, epsilon=1e-3)


class Block(nn.Module):
    features: int = 4
    activation: object = nn.relu


class Net(nn.Module):
    width: int = 8
    sizes: tuple[int, ...] = (1, 2)
    activation: Callable = nn.relu
    dtype: object = jnp.float32
    norm: object = nn.LayerNorm
    block: nn.Module | None = None
    rate: float = 0.0

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(3)(self.activation(nn.Dense(self.width)(image.reshape(image.shape[0], -1))))


@auto_config
def experiment(steps: int = 100, width: int = 8, activation=nn.relu, peak: float = 0.4, split="train"):
    model = Net(
        width,
        sizes=(2, 2),
        activation=activation,
        dtype=jnp.bfloat16,
        norm=functools.partial(nn.BatchNorm, momentum=0.9),
        block=Block(activation=nn.gelu),
    )
    return Experiment(
        task=ImageClassification(model, label_smoothing=0.1),
        data=Data(
            train=Dataset("digits", split),
            evals={"validation": Dataset("digits", "test"), "en-de": MockImages(examples=8)},
            augment=(RandomCrop(2), RandomFlip()),
            batch_size=16,
        ),
        optimizers={
            "train": optax.chain(
                optax.clip_by_global_norm(1.0),
                optax.sgd(optax.warmup_cosine_decay_schedule(0.0, peak, steps // 10, steps), momentum=0.9),
            )
        },
        steps=steps,
        keep=WIDE_KEEP,
    )


HERE = Recipe(sys.modules[__name__], __name__, Path(__file__), "tests")


def resolved(*settings):
    return resolve(HERE, settings)


def schedule(config):
    return config.optimizers["train"][1].learning_rate


def built(*settings):
    return build(resolved(*settings))
