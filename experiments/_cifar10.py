"""CIFAR-10 as the recipes split it."""

from collections.abc import Callable

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Dataset
from jaxdl.data.image.mixup import CutMix


@auto_config
def cifar10(batch_size: int, eval_batch_size: int, augment: tuple[Callable, ...], mix: CutMix | None = None) -> Data:
    """Returns training on the first 49,000 images, validation on the rest, and the test split."""
    return Data(
        train=Dataset("tfds:cifar10", "train[:49000]", features=("image", "label")),
        evals={"validation": Dataset("tfds:cifar10", "train[49000:]", features=("image", "label"))},
        test=Dataset("tfds:cifar10", "test", features=("image", "label")),
        augment=augment,
        mix=mix,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
    )
