"""Parts of the ImageNet recipes: data and normalization."""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Dataset
from jaxdl.data.image.mixup import Mixup
from jaxdl.data.image.resize import RandomResizedCrop, ResizeCrop
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.tasks.parts.pixels import Normalize


@auto_config
def imagenet(size: int, batch_size: int, mix: Mixup | None = None) -> Data:
    """Returns ImageNet-1k at size x size pixels, cropped from 8/7 of the size for evaluation."""
    return Data(
        train=Dataset("tfds:imagenet2012", "train", features=("image", "label")),
        evals={"validation": Dataset("tfds:imagenet2012", "validation", features=("image", "label"))},
        augment=(RandomResizedCrop(size), RandomFlip()),
        eval_transforms=(ResizeCrop(size * 8 // 7, size),),
        mix=mix,
        batch_size=batch_size,
        workers=8,
    )


@auto_config
def imagenet_normalize() -> Normalize:
    """Returns the normalization by mean and std of ImageNet's training images."""
    return Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
