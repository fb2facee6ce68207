"""Images with captions."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.source import ColumnSource, Loadable, as_texts, read_columns
from jaxdl.data.text.examples import (
    Overflow,
    check_fields,
    check_known,
    enclosed,
    kept_rows,
    overflow_key,
    pad,
    text_source,
)
from jaxdl.data.text.tokenizers import Vocabulary
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Captioned:
    """Images with one caption each.

    Features: `image` uint8 [examples, height, width, channels]; `target` int32 [examples, length], the caption between
    <start> and <end>; `target_length` int32 [examples].

    Example: with `length=6`, "a cat" becomes `target` [<start>, a, cat, <end>, <pad>, <pad>] and `target_length` 4.

    Attributes:
      corpus: Images and captions.
      vocabulary: Vocabulary of the captions.
      length: Tokens of the longest caption, including <start> and <end>.
      overflow: Treatment of longer captions, as in `Pairs`.
      image, caption: Names of the features in the corpus.
      shape: (height, width, channels) of the images in the corpus.
      strict: As in `Windows`.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    overflow: Overflow = "truncate"
    image: str = "image"
    caption: str = "caption"
    shape: tuple[int, int, int] = (64, 64, 3)
    strict: bool = True

    def __post_init__(self):
        check_fields(self, length=3)

    def load(self) -> ColumnSource:
        """Tokenizes the corpus.

        Raises:
          UserError: A feature does not exist, a caption is not text, an image differs from `shape`, or no example fits.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        loaded = read_columns(source, (self.image, self.caption))
        images, shape = loaded[self.image], tuple(self.shape)
        for number, image in enumerate(images):
            if image.shape != shape:
                raise UserError(
                    f"image {number} of the corpus has shape {image.shape}, but Captioned.shape is {shape}; set it"
                )
        texts = as_texts(self.caption, loaded[self.caption])
        check_known(self, tokenizer, texts)
        captions = tokenizer.encode_all(texts)
        kept = kept_rows(self, (self.caption, captions, self.length - 2))
        columns = {"image": np.stack([images[row] for row in kept])}
        targets = [enclosed(captions[row], self.length, start=True, end=True) for row in kept]
        columns |= pad("target", targets, self.length)
        settings = [self.length, overflow_key(self.overflow), self.image, self.caption]
        return text_source(self, settings, source, tokenizer, columns, ("target",))
