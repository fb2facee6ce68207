"""Pairs of texts with truncated sides."""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Dataset
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import Vocabulary


@auto_config
def truncated_pairs(
    dataset: str, split: str, vocabulary: Vocabulary, source_length: int = 96, target_length: int = 96
) -> Pairs:
    """Returns pairs whose sides are truncated to their lengths."""
    return Pairs(
        Dataset(dataset, split),
        vocabulary,
        source_length=source_length,
        target_length=target_length,
        overflow="truncate",
    )
