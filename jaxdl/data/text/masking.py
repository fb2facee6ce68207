"""Texts with masked tokens, to predict for with masked language models."""

from collections.abc import Sequence

import numpy as np

from jaxdl.data.text.codecs import Table
from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer


class MaskingTokenizer(Tokenizer):
    """Tokenizer that encodes a mask as <unknown>, the input of masked tokens in training.

    Subword tokens begin with the space before them, so a mask includes it, too.

    Example: with mask "[MASK]", characters of "a[MASK]c" become [a, <unknown>, c], and subwords of "a [MASK] c" become
    ["a", <unknown>, " c"].

    Args:
      tokenizer: Tokenizer of the run.
      mask: Text of a masked token.
    """

    def __init__(self, tokenizer: Tokenizer, mask: str):
        super().__init__(tokenizer._codec, len(tokenizer))
        self._mask = mask
        self._spaced = tokenizer._codec.kind == Table.kind  # characters: spaces are tokens

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        measured = []
        for text in texts:
            *before, last = text.split(self._mask)
            stripped = [part if self._spaced else part.removesuffix(" ") for part in before]
            widths = [len(self._mask) + len(part) - len(kept) for part, kept in zip(before, stripped)]
            parts = super().measure_all([*stripped, last])
            masks = [np.array([width], np.int32) for width in widths]
            measured.append(
                (
                    _joined([ids for ids, _ in parts], [np.array([UNKNOWN], np.int32)] * len(masks)),
                    _joined([of_tokens for _, of_tokens in parts], masks),
                )
            )
        return measured

    def first_unknown(self, text: str) -> int | None:
        start = 0
        for part in text.split(self._mask):
            position = super().first_unknown(part)
            if position is not None:
                return start + position
            start += len(part) + len(self._mask)
        return None


def _joined(parts: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenates parts with a mask between each two, int32."""
    arrays = [parts[0]]
    for mask, part in zip(masks, parts[1:]):
        arrays += [mask, part]
    return np.concatenate(arrays).astype(np.int32)
