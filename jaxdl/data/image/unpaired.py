"""Pictures in several styles: as A and B, pairs for the metric and no pairs at all for training, or each by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.image.files import find_images, read_images
from jaxdl.data.image.transforms import Transform
from jaxdl.data.random import Draws, shuffled
from jaxdl.data.source import Batch, ColumnSource, Loadable, read_columns
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError

_VERSION = 1


@dataclass(frozen=True)
class TwoStyles:
    """Two image features of a corpus as `image_a` and `image_b`, uint8 [examples, size, size, channels].

    Unpaired, the examples of the corpus are cut into two halves at random: A comes from the one, B from the other. So
    no picture has its counterpart anywhere in what is learnt from, be it in another batch; of n examples there are
    n // 2.

    Attributes:
      corpus: the pairs.
      a, b: names of its features, uint8 [height, width, channels], square, all of one size.
      paired: row i is a true pair, in the order of the corpus.
      size: side in pixels, that divides the pictures' own: each pixel is the mean of a square. None: as it is.
      seed: of the cut into halves.
    """

    corpus: Loadable
    a: str
    b: str
    paired: bool = False
    size: int | None = None
    seed: int = 0

    def load(self) -> ColumnSource:
        """Opens the corpus.

        Raises:
          UserError: no such feature, pictures of several sizes, a size that does not divide theirs, or one example only
            to be cut into halves.
        """
        source = self.corpus.load()
        columns = read_columns(source, (self.a, self.b))
        first, second = (_squares(name, columns[name], self.size) for name in (self.a, self.b))
        if not self.paired:
            count = len(first) // 2
            if not count:
                raise UserError(f"{len(first)} pairs cannot be cut into two halves; give 2 or more")
            order = shuffled(np.arange(len(first)), len(first), self.seed)
            first, second = first[order[:count]], second[order[count : 2 * count]]
        settings = [source.fingerprint, self.a, self.b, self.paired, self.size, self.seed, _VERSION]
        names = {"style": (self.a, self.b)}
        return ColumnSource({"image_a": first, "image_b": second}, digest_of(settings), names)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Sequence[str]]):
        """The user's own pictures, cut and resized to the size of training, alpha over white, as both A and B.

        Returns:
          [(path, {`image_a`, `image_b`})], each uint8 [size, size, 3].

        Raises:
          UserError: texts, or a file that is no image.
        """
        del names
        if texts:
            raise UserError("a translation of style reads image files, not --text: give it the path of one")
        side = self.size or self.load().columns["image_a"].shape[1]
        paths = find_images(files)
        images = read_images(paths, (side, side, 3))
        return [(str(path), {"image_a": image, "image_b": image}) for path, image in zip(paths, images)]


@dataclass(frozen=True)
class Styles:
    """Image features of a corpus, one after the other, as `image` uint8 [examples, size, size, channels].

    `label` int32 is the number of the feature; the features' names are its classes.

    Attributes:
      corpus: whose examples have each feature.
      features: their names, uint8 [height, width, channels], square, all of one size.
      size: as in `TwoStyles`.
    """

    corpus: Loadable
    features: tuple[str, ...]
    size: int | None = None

    def load(self) -> ColumnSource:
        """Opens the corpus.

        Raises:
          UserError: no such feature, pictures of several sizes, or a size that does not divide theirs.
        """
        source = self.corpus.load()
        columns = read_columns(source, self.features)
        images = [_squares(name, columns[name], self.size) for name in self.features]
        label = np.repeat(np.arange(len(images), dtype=np.int32), [len(each) for each in images])
        settings = [source.fingerprint, self.features, self.size, _VERSION]
        return ColumnSource(
            {"image": np.concatenate(images), "label": label}, digest_of(settings), {"label": self.features}
        )


def _squares(name: str, values: Sequence[np.ndarray] | np.ndarray, size: int | None) -> np.ndarray:
    """The images of a feature, uint8 [examples, size, size, channels]."""
    shapes = {np.shape(value) for value in values}
    shape = min(shapes, default=())
    if len(shapes) != 1 or len(shape) != 3 or shape[0] != shape[1]:
        raise UserError(f"feature '{name}' has shapes {sorted(shapes)[:3]}: needs square images of one size")
    return area_mean(np.stack(list(values)), size or shape[0])


def area_mean(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [..., side, side, channels] -> [..., size, size, channels]: the mean of each square of pixels, rounded.

    Raises:
      UserError: `size` does not divide the side.
    """
    *leading, side, _, channels = image.shape
    if size < 1 or side % size:
        raise UserError(f"size={size} does not divide the images' side of {side} pixels")
    if size == side:
        return image
    squares = image.reshape(*leading, size, side // size, size, side // size, channels)
    return np.rint(squares.astype(np.float32).mean((-4, -2))).astype(np.uint8)


@dataclass(frozen=True)
class EachStyle:
    """A transform of `image` for `image_a` and for `image_b`, with random numbers of its own for each.

    Attributes:
      transform: such as `RandomFlip()`.
    """

    transform: Transform

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        changed = {}
        for number, name in enumerate(("image_a", "image_b")):
            changed[name] = self.transform({"image": batch[name]}, draws.fold(number))["image"]
        return batch | changed


@dataclass(frozen=True)
class MockPairs:
    """`image` of made-up images and `negative`, the same with light for dark: pairs for tests and tiny runs.

    Attributes:
      images: such as `MockImages`.
    """

    images: Loadable

    def load(self) -> ColumnSource:
        source = self.images.load()
        image = source.read(np.arange(len(source)))["image"]
        return ColumnSource({"image": image, "negative": 255 - image}, digest_of([source.fingerprint, "negative"]))
