"""Presentation of examples and predictions: pictures, JSON values, framing of image files."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from jaxdl.viz.figure import Picture

Features = Mapping[str, Any]  # arrays by name, of a batch or of one example
Names = Mapping[str, Sequence[str]]
Pictures = dict[str, Picture]


class Presentation:
    """Presentation of a task's batches, examples and outputs; all methods run on the host.

    A subclass defines the methods that apply; the others are None:

    - `pictures(batch, outputs, metrics, names) -> {name: picture}`: pictures of an evaluation batch, the outputs of
      `Task.predict` for it, and the evaluation's metrics.
    - `picture(example, outputs, names) -> picture`: one example and its outputs, for `jaxdl predict`. The example
      may contain `image` only.
    - `readable(example, outputs, names) -> {name: JSON value}`: the row that `jaxdl predict` prints. By default the
      outputs with class names for class indices.
    - `neighbours(query, images, captions) -> picture`: an image beside its nearest neighbours, of tasks that predict
      `embedding`.

    `names` maps features to class names, or to a tokenizer with a method `decode`.

    Attributes:
      framing: Resizing of image files whose size `Data.eval_transforms` do not fix: "crop" or "pad" to the training
        size, "keep" the original size (see `jaxdl.data.image.files.frame`). None: the model takes no images.
      mask: Text that stands for a masked token in texts to predict for. None: the model has no masks.
      text: Key of the predicted text in `readable`. None: the model predicts no text.
    """

    framing: str | None = "crop"
    mask: str | None = None
    text: ClassVar[str | None] = None
    pictures: ClassVar[Any] = None
    picture: ClassVar[Any] = None
    readable: ClassVar[Any] = None
    neighbours: ClassVar[Any] = None


def valid_rows(batch: Features, count: int | None = None) -> np.ndarray:
    """Returns the indices of the first `count` examples that are not padding, or of all."""
    weight = batch.get("weight", np.ones(len(next(iter(batch.values())))))
    return np.flatnonzero(np.asarray(weight) > 0)[:count]


def take(tree: Features, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the given rows of every array."""
    return {name: np.asarray(value)[rows] for name, value in tree.items()}
