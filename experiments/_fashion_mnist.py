"""Parts of the Fashion-MNIST recipes: data, normalization and the FID classifier."""

from collections.abc import Callable

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Dataset
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.pixels import Normalize


@auto_config
def fashion_mnist(
    batch_size: int,
    eval_batch_size: int = 500,
    augment: tuple[Callable, ...] = (),
    features: tuple[str, ...] = (),
    validation: str = "train[55000:]",
) -> Data:
    """Returns training on the first 55,000 images, validation on the rest, and the test split."""
    return Data(
        train=Dataset("fashion_mnist", "train[:55000]", features=features),
        evals={"validation": Dataset("fashion_mnist", validation, features=features)},
        test=Dataset("fashion_mnist", "test", features=features),
        augment=augment,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
    )


@auto_config
def fashion_normalize() -> Normalize:
    """Returns the normalization by mean and std of the training images."""
    return Normalize(mean=0.286, std=0.353)


@auto_config
def fashion_convnet() -> ConvNet:
    """Returns the network of cnn/fashion_mnist."""
    return ConvNet(
        num_classes=10,
        channels=(32, 64, 128),
        depth=2,
        downsample="max",
        halve_first=True,
        residual=True,
        dropout=0.1,
    )


@auto_config
def fashion_fid_classifier() -> FIDClassifier:
    """Returns the FID classifier, whose weights come from a run of cnn/fashion_mnist."""
    return FIDClassifier(fashion_convnet(), normalize=fashion_normalize())
