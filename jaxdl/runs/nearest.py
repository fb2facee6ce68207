"""Nearest training image of each generated image, a check of memorization, and nearest neighbours of embeddings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.data.bank import bank_of
from jaxdl.data.labels import align
from jaxdl.data.pipeline import eval_batches
from jaxdl.data.source import Source
from jaxdl.errors import UserError
from jaxdl.metrics.generation import nearest_images
from jaxdl.metrics.neighbours import nearest_neighbours
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


class Neighbours(NamedTuple):
    """Nearest examples of a bank.

    Attributes:
      bank: Source of the bank.
      indices: Examples of the bank, the nearest first, int [queries, count].
      similarities: Cosine similarities, float32 [queries, count].
      labels: Labels of the examples, int [queries, count]. None: the bank has none.
    """

    bank: Source
    indices: np.ndarray
    similarities: np.ndarray
    labels: np.ndarray | None

    def images(self, query: int, count: int) -> list[np.ndarray]:
        """Returns the images of the first neighbours of a query."""
        return [self.bank.read(np.array([index]))["image"][0] for index in self.indices[query][:count]]


def nearest_in_bank(trained: Trained, embeddings: np.ndarray, count: int) -> Neighbours:
    """Finds the nearest neighbours of embeddings in the bank of a run's evaluation, or in its training data.

    Args:
      trained: A run whose task predicts `embedding`.
      embeddings: [queries, features].
      count: Number of neighbours. A smaller bank has fewer.
    """
    data = trained.experiment.data
    bank = align(bank_of(data).load(), trained.names, "bank")
    parts, labels = [], []
    for batch in eval_batches(bank, trained.program.eval_batch_size, data.eval_transforms):
        valid = batch["weight"] > 0
        parts.append(trained.program.predict(trained.state, batch)["embedding"][valid])
        labels += [batch["label"][valid]] if "label" in batch else []
    indices, similarities = nearest_neighbours(embeddings, np.concatenate(parts), min(count, len(bank)))
    return Neighbours(bank, indices, similarities, np.concatenate(labels)[indices] if labels else None)
