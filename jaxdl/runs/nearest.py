"""Memorization check of generative models: the nearest training image of each generated image."""

from collections.abc import Sequence

import numpy as np

from jaxdl.errors import UserError
from jaxdl.metrics.generation import nearest_images
from jaxdl.runs.restore import Trained

_CHUNK = 1024  # training images in memory at once


def nearest_training_images(trained: Trained, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest training image of each generated one, and its distance.

    Training images are compared without augmentation, by the root mean squared difference of pixels.

    Args:
      trained: A run of a generative model.
      images: Generated images, uint8 [h, w, c].

    Returns:
      uint8 [images, h, w, c] and float [images], in gray levels.

    Raises:
      UserError: The training data have no images of this shape.
    """
    source, generated = trained.experiment.data.train.load(), np.stack(images)
    nearest = np.zeros_like(generated)
    distance = np.full(len(generated), np.inf)
    for start in range(0, len(source), _CHUNK):
        real = source.read(np.arange(start, min(start + _CHUNK, len(source)))).get("image")
        if real is None or real.shape[1:] != generated.shape[1:]:
            shape = "no images" if real is None else f"images of shape {list(real.shape[1:])}"
            raise UserError(
                f"--nearest compares generated images of shape {list(generated.shape[1:])} with training images, but"
                f" the training data have {shape}; drop --nearest"
            )
        index, nearer = nearest_images(generated, real)
        closer = nearer < distance
        nearest[closer], distance[closer] = real[index[closer]], nearer[closer]
    return nearest, distance
