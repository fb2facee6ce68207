"""Padded examples of token ids from corpora, files or strings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxdl.data.source import Batch, ColumnSource, Source, skipped_files
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.special_tokens import END, PAD, START
from jaxdl.data.text.tokenizers import Tokenizer, Vocabulary
from jaxdl.errors import UserError, nearest

Overflow = Literal["drop", "truncate", "refuse"]

Names = Mapping[str, Sequence[str]]

Examples = list[tuple[str, dict[str, np.ndarray]]]

_OVERFLOWS = {"drop": "drop", "truncate": "cut", "refuse": "refuse"}  # values in fingerprints, which predate the names

_STEP = 64  # tokens; own texts are padded to multiples, or to powers of two below, to limit recompilation


def as_examples(
    named: list[tuple[str, str]],
    feature: str,
    tokenizer: Tokenizer,
    strict: bool,
    start: bool = False,
    end: bool = False,
    length: int | None = None,
) -> Examples:
    """Tokenizes texts as examples of `feature` int32 [n], padded, and its length.

    Args:
      named: Texts as (name, text).
      feature: Name of the token feature.
      tokenizer: Tokenizer.
      strict: Whether to refuse characters without an id.
      start, end: Whether to add <start> and <end>.
      length: Tokens to which longer texts are truncated, as in training. None keeps them.
    """
    examples = []
    for (name, text), ids in zip(named, tokenizer.encode_all([text for _, text in named])):
        if not len(ids):
            raise UserError(f"'{shorten(name)}' has no tokens; pass a text with words")
        position = tokenizer.first_unknown(text) if strict else None
        if position is not None:
            raise UserError(
                f"'{shorten(name)}': the vocabulary lacks {text[position]!r} (U+{ord(text[position]):04X}) at position "
                f"{position}; remove it, or set strict=False to read it as <unknown>"
            )
        ids = enclosed(ids, length, start=start, end=end)
        padded = pad(feature, [ids], _round_up(len(ids)))
        examples.append((name, {key: value[0] for key, value in padded.items()}))
    return examples


def check_known(loadable: Any, tokenizer: Tokenizer, texts: Sequence[str], names: Sequence[str] | None = None) -> None:
    """Raises UserError if texts have characters outside a character vocabulary, unless `strict` is false.

    Args:
      loadable: `Windows`, `Pairs`, `Sentences`, `Captioned` or `Speech`, whose `strict` applies.
      tokenizer: Tokenizer of the texts.
      texts: Texts.
      names: Names of the texts for the message. None numbers them.
    """
    if not loadable.strict:
        return
    unknown: Counter[str] = Counter()
    first = 0
    for number, text in enumerate(texts):
        foreign = tokenizer.unknown_characters(text)
        first = first if unknown else number
        unknown.update(foreign)
    if unknown:
        listed = ", ".join(f"{letter!r} ({count})" for letter, count in unknown.most_common(5))
        more = f" and {len(unknown) - 5} others" if len(unknown) > 5 else ""
        where = f"example {first} of {_corpus(loadable)}" if names is None else names[first]
        count = f"{unknown.total()} character{'s are' if unknown.total() > 1 else ' is'}"
        raise UserError(
            f"{count} outside the vocabulary: {listed}{more}; the first is in {where}; correct the texts, enlarge the "
            f"vocabulary or its corpus, or set {type(loadable).__name__}.strict=False to read them as <unknown>"
        )


def _corpus(loadable: Any) -> str:
    """Returns the name and split of a corpus for messages."""
    corpus = getattr(loadable, "corpus", None)
    name, split = getattr(corpus, "name", ""), getattr(corpus, "split", "")
    return f"'{name}', split '{split}'" if name and split else "the corpus"


def shorten(name: str) -> str:
    """Returns a text in one line of at most 60 characters, for messages."""
    line = " ".join(name.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _round_up(length: int) -> int:
    return -(-length // _STEP) * _STEP if length > _STEP else 1 << (length - 1).bit_length()


def tokenizer_of(names: Names, feature: str, vocabulary: Vocabulary) -> Tokenizer:
    """Returns the tokenizer of training from `names`, else that of the vocabulary."""
    tokenizer = names.get(feature)
    return tokenizer if isinstance(tokenizer, Tokenizer) else vocabulary.load()


def enclosed(ids: np.ndarray, length: int | None = None, *, start: bool, end: bool) -> np.ndarray:
    """Adds <start> and <end>, and truncates the text to `length` tokens in total, int32 [tokens]."""
    room = None if length is None else length - start - end
    return np.concatenate([[START] * start, ids[:room], [END] * end]).astype(np.int32)


def pad(feature: str, sequences: Sequence[np.ndarray], length: int) -> Batch:
    """Pads token sequences to `feature` int32 [sequences, length], and adds their lengths."""
    lengths = np.array([len(ids) for ids in sequences], np.int32)
    tokens = np.full((len(sequences), length), PAD, np.int32)
    tokens[np.arange(length) < lengths[:, None]] = np.concatenate([*sequences, np.zeros(0, np.int32)])
    return {feature: tokens, f"{feature}_length": lengths}


def kept_rows(loadable: Any, *features: tuple[str, Sequence[np.ndarray], int]) -> np.ndarray:
    """Returns the rows whose sequences are not empty and fit, int64 [kept].

    Args:
      loadable: `Pairs`, `Sentences` or `Captioned`, whose `overflow` applies.
      *features: Name, token sequences and largest length of each feature.
    """
    kept = np.ones(len(features[0][1]), bool)
    for feature, sequences, limit in features:
        lengths = np.array([len(ids) for ids in sequences], np.int64)
        invalid = (lengths == 0) | ((lengths > limit) & (loadable.overflow != "truncate"))
        if loadable.overflow == "refuse" and invalid.any():
            number = int(np.flatnonzero(invalid)[0])
            raise UserError(
                f"example {number} of the corpus has {lengths[number]} tokens in '{feature}', outside 1 to {limit}; "
                "raise the length, or set overflow to 'drop' or 'truncate'"
            )
        kept &= ~invalid
    if not kept.any():
        raise UserError(f"no example of the corpus fits into {type(loadable).__name__}; increase its lengths")
    return np.flatnonzero(kept)


def overflow_key(overflow: Overflow) -> str:
    """Returns the value of `overflow` in fingerprints."""
    return _OVERFLOWS[overflow]


def check_fields(loadable: Any, **minimums: int) -> None:
    """Checks `overflow`, if there is one, and the lower limits of other fields."""
    kind = type(loadable).__name__
    for name, minimum in minimums.items():
        if (value := getattr(loadable, name)) < minimum:
            raise UserError(f"{kind}.{name}={value} must be at least {minimum}")
    overflow = getattr(loadable, "overflow", "drop")
    if overflow not in _OVERFLOWS:
        raise UserError(f"{kind}.overflow='{overflow}' is unknown; {nearest(overflow, _OVERFLOWS)}")


def text_source(
    loadable: Any,
    settings: list[Any],
    source: Source,
    tokenizer: Tokenizer,
    columns: Batch,
    token_features: Sequence[str],
    renamed: Mapping[str, str] | None = None,
) -> ColumnSource:
    """Returns columns as a source with the tokenizer and a fingerprint."""
    fingerprint = digest_of([type(loadable).__name__, settings, source.fingerprint, tokenizer.digest])
    names: dict[str, Any] = {(renamed or {}).get(name, name): value for name, value in source.names.items()}
    names = {name: value for name, value in names.items() if name in columns} | dict.fromkeys(token_features, tokenizer)
    return ColumnSource(columns, fingerprint, names, skipped=skipped_files(source))
