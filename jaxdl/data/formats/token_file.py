"""Memory-mapped files of token ids, for corpora larger than memory.

The format is that of nanoGPT and llm.c: consecutive uint16 or uint32 in native byte order, with or without a header.
`write_tokens` converts a corpus.
"""

import functools
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdl.data.dataset import Dataset
from jaxdl.data.source import Batch, Loadable, read_texts
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.tokenizers import BPE, Tokenizer, Vocabulary
from jaxdl.errors import UserError

_TYPES = {"uint16": np.uint16, "uint32": np.uint32}
_SAMPLES, _SAMPLE = 64, 65_536  # pieces that the fingerprint hashes, and bytes per piece


@dataclass(frozen=True)
class TokenFile:
    """Windows of a token file, as `tokens` int32 [windows, length + 1].

    The last target of a window is the first input of the next. Remaining tokens that do not fill a window are dropped.

    Example: with `length=3`, the ids 5 6 7 8 9 10 11 load as [[5, 6, 7, 8], [8, 9, 10, 11]].

    Attributes:
      path: Token file. `PATH.json`, written by `write_tokens`, holds its type and tokenizer. "" marks a recipe's
        required argument.
      length: Targets per window.
      type: "uint16" or "uint32".
      header: Bytes before the first id (1,024 in llm.c).
      shift: Offset added to each id. Ids 0 to 3 are reserved for <pad>, <start>, <end> and <unknown>, so files whose
        ids begin with tokens need 4.
      separator: Id in the file that ends a text (50256 in GPT-2). Adds `tokens_segments` int32 [windows, length + 1],
        which masks attention and targets across texts. -1 treats the file as one text.
      first, last: Bounds of the part to load, as fractions of the file, for splits.
    """

    path: str
    length: int
    type: str = "uint16"
    header: int = 0
    shift: int = 0
    separator: int = -1
    first: float = 0.0
    last: float = 1.0

    def load(self) -> "TokenSource":
        """Maps the file.

        Raises:
          UserError: The file does not exist, does not match `type`, or is shorter than a window, or an argument is
            out of range.
        """
        if not self.path:
            raise UserError(
                "TokenFile.path is empty; write a token file with python -m jaxdl.data.formats.token_file and pass"
                " --set=data.train.path=FILE"
            )
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise UserError(f"{path} does not exist; write it with python -m jaxdl.data.formats.token_file")
        metadata = _beside(path)
        kind = metadata.get("type", self.type)
        if kind not in _TYPES or self.length < 1 or not 0 <= self.first < self.last <= 1:
            raise UserError(
                f"TokenFile(type='{kind}', length={self.length}, first={self.first}, last={self.last}) is out of range;"
                " type must be 'uint16' or 'uint32', length >= 1, and 0 <= first < last <= 1"
            )
        size = np.dtype(_TYPES[kind]).itemsize
        if (path.stat().st_size - self.header) % size:
            raise UserError(
                f"{path} does not hold whole {kind} values after a header of {self.header} bytes; set type and header"
            )
        ids = np.memmap(path, _TYPES[kind], "r", offset=self.header) if path.stat().st_size > self.header else []
        begin, end = int(self.first * len(ids)), int(self.last * len(ids))
        if end - begin < self.length + 1:
            raise UserError(
                f"{path} has {end - begin:,} tokens between first and last, fewer than a window of {self.length + 1}; "
                "load a larger part, or decrease length"
            )
        # The path is not part of the fingerprint.
        settings = [self.length, kind, self.header, self.shift, self.separator, self.first, self.last]
        fingerprint = digest_of([_sampled(path, path.stat().st_mtime_ns), *settings])
        names = {"tokens": Tokenizer.from_json(metadata["tokenizer"])} if "tokenizer" in metadata else {}
        return TokenSource(np.asarray(ids[begin:end]), self.length, self.shift, self.separator, fingerprint, names)


@dataclass(frozen=True)
class TokenSource:
    """Windows of token ids."""

    ids: np.ndarray
    length: int
    shift: int
    separator: int
    fingerprint: str
    names: Mapping[str, Sequence[str]]
    in_memory: bool = True

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.length

    def read(self, indices: np.ndarray) -> Batch:
        starts = np.asarray(indices, np.int64) * self.length
        windows = np.stack([self.ids[start : start + self.length + 1] for start in starts.tolist()])
        batch = {"tokens": windows.astype(np.int32) + np.int32(self.shift)}
        if self.separator >= 0:
            ended = np.cumsum(windows == self.separator, axis=1, dtype=np.int32)
            batch["tokens_segments"] = 1 + ended - (windows == self.separator)
        return batch


def write_tokens(path: str | Path, corpus: Loadable, vocabulary: Vocabulary, feature: str = "text") -> int:
    """Writes the token ids of a corpus to PATH, and their type and tokenizer to PATH.json.

    Returns:
      Number of tokens.

    Raises:
      UserError: The file already exists or cannot be written.
    """
    path, tokenizer = Path(path).expanduser(), vocabulary.load()
    if path.exists():
        raise UserError(f"{path} already exists; remove it, or choose another path")
    kind = "uint16" if len(tokenizer) <= 2**16 else "uint32"
    partial, count = path.with_name(f"{path.name}.partial"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for text in read_texts(corpus.load(), (feature,))[feature]:
                ids = tokenizer.encode(text)
                file.write(ids.astype(_TYPES[kind]).tobytes())
                count += len(ids)
        path.with_name(f"{path.name}.json").write_text(json.dumps({"type": kind, "tokenizer": tokenizer.json}))
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); choose another folder") from None
    return count


def _beside(path: Path) -> dict[str, str]:
    """Reads PATH.json; empty if it does not exist."""
    metadata_file = path.with_name(f"{path.name}.json")
    try:
        return json.loads(metadata_file.read_text()) if metadata_file.is_file() else {}
    except ValueError as error:
        raise UserError(f"{metadata_file} is damaged ({error}); write the token file again") from None


@functools.cache
def _sampled(path: Path, modified: int) -> str:
    """Returns the SHA-256 of a file's size and of evenly spaced pieces.

    Hashing the whole file would take minutes.
    """
    size, sha256 = path.stat().st_size, hashlib.sha256()
    sha256.update(str(size).encode())
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - _SAMPLE), _SAMPLES).astype(int).tolist():
            file.seek(start)
            sha256.update(file.read(_SAMPLE))
    return sha256.hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Trains a BPE tokenizer and writes a token file.

    Usage: `python -m jaxdl.data.formats.token_file TEXT OUTPUT IDS`.
    """
    try:
        if len(arguments) != 3 or not arguments[2].isdigit():
            raise UserError("usage: token_file TEXT OUTPUT IDS (text file or folder, file to write, ids such as 32000)")
        text, output, size = arguments
        corpus = Dataset(f"text:{text}", "train")
        count = write_tokens(output, corpus, Vocabulary(BPE(int(size)), corpus))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{output} has {count:,} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
