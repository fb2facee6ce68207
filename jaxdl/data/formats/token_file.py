"""Running text as a file of token ids, mapped into memory: what is too large to be read into it.

The format is the plain one of nanoGPT and llm.c: unsigned 16- or 32-bit integers in the machine's order, one after the
other, with or without a header. `write_tokens` makes such a file of any corpus.
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
_SAMPLES, _SAMPLE = 64, 65_536  # of the fingerprint: pieces, and bytes of each


@dataclass(frozen=True)
class TokenFile:
    """Windows of a file of token ids.

    Loads as `tokens` int32 [windows, length + 1]; the last target of a window is the first input of the next one. What
    is left at the end, fewer than `length` targets, is dropped.

    Attributes:
      path: of the file; "" is a recipe's way to ask for one. Where `PATH.json` lies beside it, as `write_tokens` leaves
        it, it says what type the ids have, and what they mean.
      length: targets of a window.
      type: "uint16" or "uint32".
      header: bytes before the first id; llm.c has 1,024.
      shift: added to each id. Ids 0 to 3 are <pad>, <start>, <end> and <unknown> here, and <pad> counts nowhere: 4 for
        files whose ids begin with tokens.
      separator: an id of the file after which another text begins, such as 50256 in GPT-2's: with `tokens_segments`
        int32 [windows, length + 1] no token sees another text, and none is foretold from another. -1: all is one text.
      first, last: the share of the file to take, from 0 to 1, for splits.
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
        """
        Raises:
          UserError: no such file, one that cannot be of this type, or too short for a window; an argument out of range.
        """
        if not self.path:
            raise UserError(
                "TokenFile.path is empty: give a file of token ids, which"
                " python -m jaxdl.data.formats.token_file makes of a"
                " text: --set=train=FILE"
            )
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise UserError(f"there is no file {path}; python -m jaxdl.data.formats.token_file makes one of a text")
        said = _beside(path)
        kind = said.get("type", self.type)
        if kind not in _TYPES or self.length < 1 or not 0 <= self.first < self.last <= 1:
            raise UserError(
                f"TokenFile(type='{kind}', length={self.length}, first={self.first}, last={self.last}): type is"
                " 'uint16' or 'uint32', length 1 or more, and 0 <= first < last <= 1"
            )
        size = np.dtype(_TYPES[kind]).itemsize
        if (path.stat().st_size - self.header) % size:
            raise UserError(f"{path} has no whole number of {kind} after {self.header} bytes; set type and header")
        ids = np.memmap(path, _TYPES[kind], "r", offset=self.header) if path.stat().st_size > self.header else []
        begin, end = int(self.first * len(ids)), int(self.last * len(ids))
        if end - begin < self.length + 1:
            raise UserError(
                f"{path} has {end - begin:,} tokens there, a window {self.length + 1}; take more, or less length"
            )
        # Where the file lies is not part of it.
        taken = [self.length, kind, self.header, self.shift, self.separator, self.first, self.last]
        fingerprint = digest_of([_sampled(path, path.stat().st_mtime_ns), *taken])
        names = {"tokens": Tokenizer.from_json(said["tokenizer"])} if "tokenizer" in said else {}
        return TokenSource(np.asarray(ids[begin:end]), self.length, self.shift, self.separator, fingerprint, names)


@dataclass(frozen=True)
class TokenSource:
    """Windows of ids; a `jaxdl.data.source.Source`."""

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
    """Writes the ids of all texts of a corpus, one after the other, and what they mean, to PATH and PATH.json.

    Returns:
      how many tokens there are.

    Raises:
      UserError: the file is there already, or cannot be written.
    """
    path, tokenizer = Path(path).expanduser(), vocabulary.load()
    if path.exists():
        raise UserError(f"{path} is there already; remove it, or name another one")
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
    """What PATH.json says."""
    note = path.with_name(f"{path.name}.json")
    try:
        return json.loads(note.read_text()) if note.is_file() else {}
    except ValueError as error:
        raise UserError(f"{note} is damaged ({error}); write the tokens again") from None


@functools.cache
def _sampled(path: Path, modified: int) -> str:
    """SHA-256 of a file's size and of pieces from all over it: all of it would take minutes."""
    size, found = path.stat().st_size, hashlib.sha256()
    found.update(str(size).encode())
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - _SAMPLE), _SAMPLES).astype(int).tolist():
            file.seek(start)
            found.update(file.read(_SAMPLE))
    return found.hexdigest()


def main(arguments: Sequence[str]) -> int:
    """`python -m jaxdl.data.formats.token_file TEXT OUTPUT IDS`: trains a tokenizer and writes the token file."""
    try:
        if len(arguments) != 3 or not arguments[2].isdigit():
            raise UserError("give a text file or a folder of them, the file to write, and how many ids, such as 32000")
        text, output, ids = arguments
        corpus = Dataset(f"text:{text}", "train")
        count = write_tokens(output, corpus, Vocabulary(BPE(int(ids)), corpus))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{output} has {count:,} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
