"""Image domains: paired, unpaired (CycleGAN), or as classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.image.files import find_images, read_image, read_images
from jaxdl.data.image.transforms import Transform
from jaxdl.data.random import Draws, shuffled
from jaxdl.data.source import Batch, ColumnSource, Loadable, read_columns
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError

_VERSION = 1


@dataclass(frozen=True)
class TwoStyles:
    """Two image features as `image_a` and `image_b`, uint8 [examples, size, size, channels].

    Unpaired, the examples are divided at random into two halves, one for each domain, so no image has its counterpart
    in the training set. n examples yield n // 2.

    Attributes:
      corpus: Examples with both features.
      a, b: Names of the features, uint8 [height, width, channels], square and of one size.
      paired: Whether row i is a true pair, in the order of the corpus.
      size: Side in pixels, a divisor of the original side; each pixel is the mean of a square. None keeps the size.
      seed: Seed of the division into halves.
      channels: Channels of the images, 1 (grey) or 3; image files are converted.
    """

    corpus: Loadable
    a: str
    b: str
    paired: bool = False
    size: int | None = None
    seed: int = 0
    channels: int = 3

    def load(self) -> ColumnSource:
        """Opens the corpus.

        Raises:
          UserError: A feature does not exist, images differ in size, have other channels or a side that `size` does not
            divide, or a single example cannot be halved.
        """
        source = self.corpus.load()
        columns = read_columns(source, (self.a, self.b))
        first, second = (squares(name, columns[name], self.size) for name in (self.a, self.b))
        for name, images in ((self.a, first), (self.b, second)):
            if images.shape[-1] != self.channels:
                fix = f"use channels={images.shape[-1]}"
                raise UserError(f"feature '{name}' has {images.shape[-1]} channels, not {self.channels}; {fix}")
        if not self.paired:
            count = len(first) // 2
            if not count:
                raise UserError(f"{len(first)} pairs cannot be divided into halves; provide at least 2")
            order = shuffled(np.arange(len(first)), len(first), self.seed)
            first, second = first[order[:count]], second[order[count : 2 * count]]
        settings = [source.fingerprint, self.a, self.b, self.paired, self.size, self.seed, _VERSION]
        names = {"style": (self.a, self.b)}
        return ColumnSource({"image_a": first, "image_b": second}, digest_of(settings), names)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Sequence[str]]):
        """Reads image files over white at the training size, as both A and B.

        Squares are reduced as in training where `size` divides their side; others are cropped and resized.

        Returns:
          Pairs (path, {`image_a`, `image_b`}), each image uint8 [size, size, channels].

        Raises:
          UserError: Texts were given, or a file is not an image.
        """
        del names
        if texts:
            raise UserError("image translation reads image files, not --text; pass the path of an image")
        side = self.size or self.load().columns["image_a"].shape[1]
        paths = find_images(files)
        examples = []
        for path in paths:
            image = read_image(path, self.channels)
            height, width = image.shape[:2]
            fits = height == width and height % side == 0
            image = area_mean(image, side) if fits else read_images([path], (side, side, self.channels))[0]
            examples.append((str(path), {"image_a": image, "image_b": image}))
        return examples


@dataclass(frozen=True)
class Styles:
    """Concatenated image features as `image` uint8 [examples, size, size, channels].

    `label` int32 is the index of the feature, and the feature names are the class names.

    Attributes:
      corpus: Examples with all features.
      features: Names of the features, uint8 [height, width, channels], square and of one size.
      size: As in `TwoStyles`.
      label: Feature of the corpus to use as `label`, with its class names. None: the index of the image feature.
    """

    corpus: Loadable
    features: tuple[str, ...]
    size: int | None = None
    label: str | None = None

    def load(self) -> ColumnSource:
        """Opens the corpus.

        Raises:
          UserError: A feature does not exist, images differ in size, or `size` does not divide theirs.
        """
        source = self.corpus.load()
        columns = read_columns(source, (*self.features, *([self.label] if self.label else [])))
        images = [squares(name, columns[name], self.size) for name in self.features]
        settings = [source.fingerprint, self.features, self.size, _VERSION]
        if self.label:
            settings.append(self.label)
            label = np.tile(np.asarray(columns[self.label], np.int32), len(images))
            names = {"label": tuple(source.names[self.label])} if self.label in source.names else {}
        else:
            label = np.repeat(np.arange(len(images), dtype=np.int32), [len(each) for each in images])
            names = {"label": self.features}
        return ColumnSource({"image": np.concatenate(images), "label": label}, digest_of(settings), names)


def squares(name: str, values: Sequence[np.ndarray] | np.ndarray, size: int | None) -> np.ndarray:
    """Returns the images of a feature, uint8 [examples, size, size, channels]."""
    shapes = {np.shape(value) for value in values}
    shape = min(shapes, default=())
    if len(shapes) != 1 or len(shape) != 3 or shape[0] != shape[1]:
        raise UserError(f"feature '{name}' has shapes {sorted(shapes)[:3]}; expected square images of one size")
    return area_mean(np.stack(list(values)), size or shape[0])


def area_mean(image: np.ndarray, size: int) -> np.ndarray:
    """Downsamples uint8 [..., side, side, channels] by the rounded mean of pixel squares.

    Raises:
      UserError: `size` does not divide the side.
    """
    *leading, side, _, channels = image.shape
    if size < 1 or side % size:
        raise UserError(f"size={size} does not divide the image side of {side} pixels; use a divisor")
    if size == side:
        return image
    squares = image.reshape(*leading, size, side // size, size, side // size, channels)
    return np.rint(squares.astype(np.float32).mean((-4, -2))).astype(np.uint8)


@dataclass(frozen=True)
class EachStyle:
    """Transform of `image_a` and `image_b`.

    Attributes:
      transform: Transform of `image`, such as `RandomFlip()`.
      paired: Whether both images get the same random numbers, instead of independent ones.
    """

    transform: Transform
    paired: bool = False

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        changed = {}
        for number, name in enumerate(("image_a", "image_b")):
            fold = draws.fold(0 if self.paired else number)
            changed[name] = self.transform({"image": batch[name]}, fold)["image"]
        return batch | changed


@dataclass(frozen=True)
class MockPairs:
    """Generated images as `image` and their negatives as `negative`, for tests.

    Attributes:
      images: Source of the images, such as `MockImages`.
    """

    images: Loadable

    def load(self) -> ColumnSource:
        source = self.images.load()
        image = source.read(np.arange(len(source)))["image"]
        return ColumnSource({"image": image, "negative": 255 - image}, digest_of([source.fingerprint, "negative"]))
