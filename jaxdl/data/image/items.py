"""Pictures of items: pairs of two pictures for training, and items by name for retrieval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.image.unpaired import squares
from jaxdl.data.source import ColumnSource, Loadable, read_columns, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class ItemPairs:
    """Two pictures of each item as `image` and `positive`, uint8 [items, size, size, channels].

    Attributes:
      corpus: Items with both features.
      image, positive: Names of the features, uint8 [height, width, channels], square and of one size.
      size: As in `jaxdl.data.image.unpaired.TwoStyles`.
      mirrored: Adds the mirror images of each pair as a further item, which is a negative of the original.
    """

    corpus: Loadable
    image: str
    positive: str
    size: int | None = None
    mirrored: bool = False

    def load(self) -> ColumnSource:
        """Opens the corpus.

        Raises:
          UserError: A feature does not exist, images differ in size, or `size` does not divide theirs.
        """
        source = self.corpus.load()
        columns = read_columns(source, (self.image, self.positive))
        image, positive = (squares(name, columns[name], self.size) for name in (self.image, self.positive))
        if self.mirrored:
            image, positive = (np.concatenate([part, part[:, :, ::-1]]) for part in (image, positive))
        settings = [source.fingerprint, self.image, self.positive, self.size, self.mirrored, "pairs"]
        return ColumnSource({"image": image, "positive": positive}, digest_of(settings))


@dataclass(frozen=True)
class Items:
    """One picture of each item as `image` uint8 [items, size, size, channels]; `label` int32 is its name.

    The class names are the names of the catalogue, so that items of different splits have different labels.

    Attributes:
      corpus: Items with the feature and their name.
      catalogue: All items, such as `Dataset("emoji", "train+validation+test")`.
      feature: Feature of the pictures, as in `ItemPairs`.
      name: Feature of the names.
      size: As in `jaxdl.data.image.unpaired.TwoStyles`.
    """

    corpus: Loadable
    catalogue: Loadable
    feature: str
    name: str = "name"
    size: int | None = None

    def load(self) -> ColumnSource:
        """Opens the corpus and reads the names of the catalogue.

        Raises:
          UserError: As `ItemPairs.load`, or an item is not in the catalogue.
        """
        source, catalogue = self.corpus.load(), self.catalogue.load()
        numbers: dict[str, int] = {}
        for name in self._names(catalogue):
            numbers.setdefault(name, len(numbers))
        names = self._names(source)
        if missing := [name for name in names if name not in numbers]:
            raise UserError(f"'{missing[0]}' is not in the catalogue; add its split to Items.catalogue")
        image = squares(self.feature, read_columns(source, (self.feature,))[self.feature], self.size)
        label = np.array([numbers[name] for name in names], np.int32)
        settings = [source.fingerprint, catalogue.fingerprint, self.feature, self.name, self.size, "items"]
        return ColumnSource({"image": image, "label": label}, digest_of(settings), {"label": tuple(numbers)})

    def _names(self, source) -> Sequence[str]:
        return read_texts(source, (self.name,))[self.name]
