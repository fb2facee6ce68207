"""Images with captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.data.image.files import find_images, read_images
from jaxdl.data.source import ColumnSource, Loadable, as_texts, read_columns
from jaxdl.data.text.examples import (
    Examples,
    Longer,
    Names,
    check_longer,
    check_minimum,
    check_not_empty,
    kept_rows,
    pad,
    text_source,
    with_start_and_end,
)
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Captioned:
    """Images with a caption each.

    Loads as `image` uint8 [examples, height, width, channels], `target` int32 [examples, length], which begins with
    <start> and ends with <end>, and `target_length` int32 [examples].

    Attributes:
      length: of the longest caption, with <start> and <end>.
      longer: as in `Pairs`.
      image, caption: what the corpus calls them.
      shape: (height, width, channels) of the corpus's images; `read` brings the user's own to it.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    longer: Longer = "cut"
    image: str = "image"
    caption: str = "caption"
    shape: tuple[int, int, int] = (64, 64, 3)

    def __post_init__(self):
        check_minimum(self, length=(self.length, 3))
        check_longer(self, self.longer)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, images of another shape, an example that is refused, or none is left.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        columns = read_columns(source, (self.image, self.caption))
        images, shape = columns[self.image], tuple(self.shape)
        for number, image in enumerate(images):
            if image.shape != shape:
                raise UserError(f"image {number} of the corpus has shape {image.shape}; Captioned.shape is {shape}")
        captions = tokenizer.encode_all(as_texts(self.caption, columns[self.caption]))
        kept = kept_rows(self.caption, captions, self.length - 2, self.longer)
        check_not_empty(self, kept)
        made = {"image": np.stack([images[row] for row in kept])}
        made |= pad("target", [with_start_and_end(captions[row], self.length) for row in kept], self.length)
        settings = [self.length, self.longer, self.image, self.caption]
        return text_source(self, settings, source, tokenizer, made, ("target",))

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Image files, and those in folders, as `image`, cut at the centre and resized to `shape`.

        Raises:
          UserError: there are texts, no images, or files that are none.
        """
        if texts:
            raise UserError("a model that captions images takes image files, not --text")
        found = find_images(files)
        return [(str(file), {"image": read_images([file], self.shape)[0]}) for file in found]
