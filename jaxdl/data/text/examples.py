"""Helpers that make padded examples of token ids from a corpus, files or strings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl.data.source import Batch, ColumnSource, Source, as_text
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.special_tokens import END, PAD, START
from jaxdl.data.text.tokenizers import Tokenizer, Vocabulary
from jaxdl.errors import UserError, nearest

Longer = Literal["drop", "cut", "refuse"]

Names = Mapping[str, Sequence[str]]

Examples = list[tuple[str, dict[str, np.ndarray]]]

_LONGER = ("drop", "cut", "refuse")

_STEP = 64  # tokens: own texts are padded to a multiple of this, or to a power of two below, so that few programs do


def own_texts(files: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """The user's own texts, (what to call it, text): those given, then each file as a whole.

    Raises:
      UserError: a file is missing, no file or no UTF-8; or there is nothing at all.
    """
    found = [(text, as_text(text.encode("utf-8", "surrogatepass"), "the text given")) for text in texts]
    found += [(file, read_file(file)) for file in files]
    if not found:
        raise UserError("there is nothing to read; give text files, or texts with --text=...")
    return found


def own_lines(files: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """As `own_texts`, but each line of a file that is not empty is a text of its own, called FILE:LINE."""
    found = own_texts((), texts) if texts or not files else []
    for file in files:
        lines = read_file(file).split("\n")
        named = [(f"{file}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
        if not named:
            raise UserError(f"{file} is empty; write a text on each line")
        found += named
    return found


def read_file(path: str | Path) -> str:
    """A text file in UTF-8, with "\\n" at the ends of lines whatever it has, and without a byte order mark.

    Raises:
      UserError: it is missing, cannot be read or is no UTF-8.
    """
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give a text file in UTF-8") from None
    return as_text(content, str(path)).removeprefix("\ufeff").replace("\r\n", "\n")


def as_examples(
    named: list[tuple[str, str]],
    feature: str,
    tokenizer: Tokenizer,
    strict: bool,
    start: bool = False,
    end: bool = False,
) -> Examples:
    """Texts as examples with `feature` int32 [n], padded, and its length; with `start` and `end`, <start> comes first
    and <end> last."""
    examples = []
    for (name, text), ids in zip(named, tokenizer.encode_all([text for _, text in named])):
        if not len(ids):
            raise UserError(f"'{_short(name)}' has no token in it; give a text")
        place = tokenizer.first_foreign(text) if strict else None
        if place is not None:
            raise UserError(
                f"'{_short(name)}': the vocabulary has no {text[place]!r} (U+{ord(text[place]):04X}), the character at "
                f"position {place}; take it out, or set strict=False, which reads it as <unknown>"
            )
        ids = np.concatenate([[START] * start, ids, [END] * end]).astype(np.int32)
        padded = pad(feature, [ids], _round_up(len(ids)))
        examples.append((name, {key: value[0] for key, value in padded.items()}))
    return examples


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _round_up(length: int) -> int:
    return -(-length // _STEP) * _STEP if length > _STEP else 1 << (length - 1).bit_length()


def tokenizer_of(names: Names, feature: str, vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer that the model was trained with, which `names` has; else that of the vocabulary."""
    tokenizer = names.get(feature)
    return tokenizer if isinstance(tokenizer, Tokenizer) else vocabulary.load()


def with_end(ids: np.ndarray, length: int) -> np.ndarray:
    return np.append(ids[: length - 1], np.int32(END))


def with_start_and_end(ids: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([[START], ids[: length - 2], [END]]).astype(np.int32)


def pad(feature: str, sequences: Sequence[np.ndarray], length: int) -> Batch:
    """Sequences [tokens] of `length` or less as `feature` int32 [sequences, length] and its lengths."""
    lengths = np.array([len(ids) for ids in sequences], np.int32)
    tokens = np.full((len(sequences), length), PAD, np.int32)
    tokens[np.arange(length) < lengths[:, None]] = np.concatenate([*sequences, np.zeros(0, np.int32)])
    return {feature: tokens, f"{feature}_length": lengths}


def kept_rows(feature: str, sequences: Sequence[np.ndarray], limit: int, longer: Longer) -> np.ndarray:
    """Which examples stay, int64 [examples]: those that fit, if they need to, and have a token."""
    lengths = np.array([len(ids) for ids in sequences], np.int64)
    wrong = (lengths == 0) if longer == "cut" else (lengths == 0) | (lengths > limit)
    if longer == "refuse" and wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"example {number} of the corpus has {lengths[number]} tokens in '{feature}', which has room for 1 to "
            f"{limit}; raise the length, or set longer to 'drop' or 'cut'"
        )
    return np.flatnonzero(~wrong)


def check_not_empty(loadable: Any, kept: np.ndarray) -> None:
    if not len(kept):
        raise UserError(f"no example of the corpus fits into {type(loadable).__name__}; raise its lengths")


def check_longer(loadable: Any, longer: str) -> None:
    if longer not in _LONGER:
        raise UserError(f"{type(loadable).__name__}.longer is '{longer}'; {nearest(longer, _LONGER)}")


def check_minimum(loadable: Any, **limits: tuple[int, int]) -> None:
    """Checks each field of `limits`: (its value, the least it may be)."""
    for name, (value, least) in limits.items():
        if value < least:
            raise UserError(f"{type(loadable).__name__}.{name}={value}: must be {least} or more")


def text_source(
    loadable: Any,
    settings: list[Any],
    source: Source,
    tokenizer: Tokenizer,
    columns: Batch,
    token_features: Sequence[str],
    renamed: Mapping[str, str] | None = None,
) -> ColumnSource:
    """The columns as a source, which tells what its numbers mean."""
    fingerprint = digest_of([type(loadable).__name__, settings, source.fingerprint, tokenizer.digest])
    names: dict[str, Any] = {(renamed or {}).get(name, name): each for name, each in source.names.items()}
    names = {name: each for name, each in names.items() if name in columns} | dict.fromkeys(token_features, tokenizer)
    return ColumnSource(columns, fingerprint, names)
