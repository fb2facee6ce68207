"""Texts with masked tokens, to predict for with masked language models."""

from collections.abc import Sequence

import numpy as np

from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer


class MaskingTokenizer(Tokenizer):
    """Tokenizer that encodes a mask as <unknown>, the input of masked tokens in training.

    Example: with mask "[MASK]" and characters, "a[MASK]c" becomes [a, <unknown>, c].

    Args:
      tokenizer: Tokenizer of the run.
      mask: Text of a masked token.
    """

    def __init__(self, tokenizer: Tokenizer, mask: str):
        super().__init__(tokenizer._codec, len(tokenizer))
        self._mask = mask

    def measure_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        measured = []
        for text in texts:
            parts = super().measure_all(text.split(self._mask))
            ids, widths = ([part[kind] for part in parts] for kind in (0, 1))
            measured.append((_joined(ids, UNKNOWN), _joined(widths, len(self._mask))))
        return measured

    def first_unknown(self, text: str) -> int | None:
        start = 0
        for part in text.split(self._mask):
            position = super().first_unknown(part)
            if position is not None:
                return start + position
            start += len(part) + len(self._mask)
        return None


def _joined(parts: Sequence[np.ndarray], separator: int) -> np.ndarray:
    arrays = [parts[0]]
    for part in parts[1:]:
        arrays += [np.array([separator], np.int32), part]
    return np.concatenate(arrays).astype(np.int32)
