"""Recipe with every feature that could break a resume: see test_kill.py.

Dropout, shuffling, augmentation, mixup, EMA, Adam, batch statistics and asynchronous saves.
"""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.image.mixup import Mixup
from jaxdl.data.image.transforms import RandomAffine, RandomCrop
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.data.synthetic.images import MockImages
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.viz.classification import ClassificationPresentation


class _WithoutPictures(ClassificationPresentation):
    pictures: ClassVar[Any] = None


@dataclass(frozen=True, eq=False)
class Classification(ImageClassification):
    """Image classification that draws no pictures by default: they take a third of a short run."""

    pictures: bool = False

    @property
    def presentation(self) -> ClassificationPresentation:
        return ClassificationPresentation() if self.pictures else _WithoutPictures()


@dataclass(frozen=True)
class Pause:
    """Delays every batch, so that a kill hits the step that a test has chosen."""

    seconds: float

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        time.sleep(self.seconds)
        return batch


@auto_config
def experiment(steps: int = 60, seed: int = 0, pause: float = 0.0) -> Experiment:
    return Experiment(
        task=Classification(ConvNet(num_classes=10, channels=(8, 16), dropout=0.3), label_smoothing=0.1),
        data=Data(
            train=MockImages(shape=(8, 8, 1), examples=100),
            evals={"validation": MockImages(shape=(8, 8, 1), examples=30, split="validation")},
            augment=(RandomCrop(1), RandomAffine(degrees=10), Pause(pause)),
            mix=Mixup(0.2),
            batch_size=16,
        ),
        optimizers={"train": optax.adam(optax.cosine_decay_schedule(1e-2, steps))},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=1,
        eval_every=(steps + 2) // 3,
        save_every=5,
        keep=CheckpointPolicy(latest=2, best=1, metric="validation/accuracy"),
    )
