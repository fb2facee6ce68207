"""Texts with masked tokens, to predict for with masked language models."""

from collections.abc import Sequence

import numpy as np

from jaxdl.data.text.codecs import SPACE
from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer

_PLACE = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands for a mask: a single word, absent from vocabularies


class MaskingTokenizer(Tokenizer):
    """Tokenizer that encodes a mask as <unknown>, the input of masked tokens in training.

    Tokens around a mask are those of the text with another word in its place. The mask includes the space before it if
    tokens do.

    Example: with mask "[MASK]", characters of "a[MASK]c" become [a, <unknown>, c], and subwords of "a [MASK] c" become
    [" a", <unknown>, " c"].

    Args:
      tokenizer: Tokenizer of the run.
      mask: Text of a masked token.
    """

    def __init__(self, tokenizer: Tokenizer, mask: str):
        super().__init__(tokenizer._codec, len(tokenizer))
        self._mask = mask

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        measured = super().measure_all([text.replace(self._mask, _PLACE) for text in texts])
        return [self._masked(text, *tokens) if self._mask in text else tokens for text, tokens in zip(texts, measured)]

    def first_unknown(self, text: str) -> int | None:
        start = 0
        for part in text.split(self._mask):
            position = super().first_unknown(part)
            if position is not None:
                return start + position
            start += len(part) + len(self._mask)
        return None

    def _masked(self, text: str, ids: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Replaces the tokens of each place by one <unknown>."""
        lengths = [len(part) for part in text.split(self._mask)[:-1]]
        ends = np.cumsum(widths)
        for place in (np.cumsum(lengths) + np.arange(len(lengths)))[::-1]:
            starts = ends - widths
            inside = ((starts <= place) & (ends > place)) | ((widths == 0) & np.isin(starts, (place, place + 1)))
            spaces = np.array([self[number] == SPACE for number in ids.tolist()])
            inside |= spaces & (ends == place)
            first, last = np.flatnonzero(inside)[[0, -1]]
            width = widths[first : last + 1].sum() + len(self._mask) - 1
            ids = np.concatenate([ids[:first], [UNKNOWN], ids[last + 1 :]]).astype(np.int32)
            widths = np.concatenate([widths[:first], [width], widths[last + 1 :]]).astype(np.int32)
            ends = np.cumsum(widths)
        return ids, widths
