"""Memory-mapped files of token ids, for corpora larger than memory.

A file is consecutive ids as uint16 or uint32. The header of `write_tokens` holds their type, the size of the vocabulary
and the tokenizer; that of llm.c holds their type and number. Files without a header (nanoGPT) need `type`.
"""

import functools
import hashlib
import json
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.dataset import Dataset
from jaxdl.data.source import Batch, Loadable, read_texts
from jaxdl.data.store.prepared import DIGEST_LIMIT, digest_of
from jaxdl.data.text.tokenizers import BPE, Tokenizer, Vocabulary
from jaxdl.errors import UserError
from jaxdl.home import expanded
from jaxdl.remote import local

_TYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_MAGIC = b"JAXDLTOK"  # followed by the length of a JSON object, uint32, and the object
_LLMC = {(20240520, 1): "uint16", (20240801, 7): "uint32"}  # (magic, version) of llm.c
_LLMC_HEADER = 1024  # bytes
_SAMPLES, _SAMPLE = 64, 65_536  # pieces that the fingerprint hashes, and bytes per piece


@dataclass(frozen=True)
class TokenFile:
    """Windows of a token file, as `tokens` int32 [windows, length + 1].

    The last target of a window is the first input of the next. Remaining tokens that do not fill a window are dropped.

    Example: with `length=3`, the ids 5 6 7 8 9 10 11 load as [[5, 6, 7, 8], [8, 9, 10, 11]].

    Attributes:
      path: Token file. "" marks a recipe's required argument.
      length: Targets per window.
      type: "uint16" or "uint32". "" takes the type from the file's header, or from `PATH.json` of earlier versions.
      header: Bytes before the first id in files of another format.
      shift: Offset added to each id. Ids 0 to 3 are reserved for <pad>, <start>, <end> and <unknown>, so files whose
        ids begin with tokens need 4.
      separator: Id in the file that ends a text (50256 in GPT-2). Adds `tokens_segments` int32 [windows, length + 1],
        which masks attention and targets across texts. -1 treats the file as one text.
      first, last: Bounds of the part to load, as fractions of the file, for splits.
      vocabulary: Number of ids in the file; larger ids are refused. 0 takes it from the header, if it has one.
    """

    path: str
    length: int
    type: str = ""
    header: int = 0
    shift: int = 0
    separator: int = -1
    first: float = 0.0
    last: float = 1.0
    vocabulary: int = 0

    def load(self) -> "TokenSource":
        """Maps the file.

        Raises:
          UserError: The file does not exist, does not match its header or `type`, has ids above the vocabulary, or is
            shorter than a window, or an argument is out of range.
        """
        if not self.path:
            raise UserError(
                "TokenFile.path is empty; write a token file with python -m jaxdl.data.formats.token_file and pass"
                " --set=data.train.path=FILE"
            )
        path = local(self.path)
        if not path.is_file():
            raise UserError(f"{path} does not exist; write it with python -m jaxdl.data.formats.token_file")
        header = _header(path)
        kind = header.type or self.type
        if not kind:
            raise UserError(f"{path} has no header that states its type; set TokenFile.type to 'uint16' or 'uint32'")
        if self.type and self.type != kind:
            raise UserError(f"{path} has {kind} ids by its header, but TokenFile.type='{self.type}'; remove type")
        offset = header.bytes or self.header
        if kind not in _TYPES or self.length < 1 or not 0 <= self.first < self.last <= 1:
            raise UserError(
                f"TokenFile(type='{kind}', length={self.length}, first={self.first}, last={self.last}) is out of range;"
                " type must be 'uint16' or 'uint32', length >= 1, and 0 <= first < last <= 1"
            )
        content = path.stat().st_size - offset
        if content % _TYPES[kind].itemsize:
            raise UserError(
                f"{path} does not hold whole {kind} values after a header of {offset} bytes; set type and header"
            )
        ids = np.memmap(path, _TYPES[kind], "r", offset=offset) if content > 0 else np.zeros(0, _TYPES[kind])
        if header.count is not None and header.count != len(ids):
            raise UserError(f"{path} has {len(ids):,} ids, but {header.count:,} by its header; copy the file again")
        vocabulary = self.vocabulary or header.vocabulary
        if content <= DIGEST_LIMIT:
            _check_ids(ids, vocabulary, str(path))
        begin, end = int(self.first * len(ids)), int(self.last * len(ids))
        if end - begin < self.length + 1:
            raise UserError(
                f"{path} has {end - begin:,} tokens between first and last, fewer than a window of {self.length + 1}; "
                "load a larger part, or decrease length"
            )
        # The path is not part of the fingerprint.
        settings = [self.length, kind, offset, self.shift, self.separator, self.first, self.last]
        fingerprint = digest_of([_sampled(path, path.stat().st_mtime_ns), *settings])
        names = {"tokens": Tokenizer.from_json(header.tokenizer)} if header.tokenizer else {}
        part = np.asarray(ids[begin:end])
        return TokenSource(part, self.length, self.shift, self.separator, fingerprint, names, str(path), vocabulary)


@dataclass(frozen=True)
class TokenSource:
    """Windows of token ids."""

    ids: np.ndarray
    length: int
    shift: int
    separator: int
    fingerprint: str
    names: Mapping[str, Sequence[str]]
    path: str
    vocabulary: int
    in_memory: bool = True

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.length

    def read(self, indices: np.ndarray) -> Batch:
        starts = np.asarray(indices, np.int64) * self.length
        windows = np.stack([self.ids[start : start + self.length + 1] for start in starts.tolist()])
        _check_ids(windows, self.vocabulary, self.path)
        batch = {"tokens": windows.astype(np.int32) + np.int32(self.shift)}
        if self.separator >= 0:
            ended = np.cumsum(windows == self.separator, axis=1, dtype=np.int32)
            batch["tokens_segments"] = 1 + ended - (windows == self.separator)
        return batch


def write_tokens(path: str | Path, corpus: Loadable, vocabulary: Vocabulary, feature: str = "text") -> int:
    """Writes the token ids of a corpus, with their type, vocabulary and tokenizer in a header.

    Returns:
      Number of tokens.

    Raises:
      UserError: The file already exists or cannot be written.
    """
    path, tokenizer = expanded(path), vocabulary.load()
    if path.exists():
        raise UserError(f"{path} already exists; remove it, or choose another path")
    kind = "uint16" if len(tokenizer) <= 2**16 else "uint32"
    partial, count = path.with_name(f"{path.name}.partial"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            header = json.dumps({"type": kind, "vocabulary": len(tokenizer), "tokenizer": tokenizer.json}).encode()
            header += b" " * (-(len(_MAGIC) + 4 + len(header)) % 8)  # aligns the ids
            file.write(_MAGIC + struct.pack("<I", len(header)) + header)
            for text in read_texts(corpus.load(), (feature,))[feature]:
                ids = tokenizer.encode(text)
                file.write(ids.astype(_TYPES[kind]).tobytes())
                count += len(ids)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); choose another folder") from None
    return count


class _Header(NamedTuple):
    """Header of a token file.

    Attributes:
      type: Type of the ids, "" if unknown.
      bytes: Bytes before the first id.
      vocabulary: Number of ids in the vocabulary, 0 if unknown.
      tokenizer: Serialized tokenizer, "" if unknown.
      count: Number of ids. None if unknown.
    """

    type: str = ""
    bytes: int = 0
    vocabulary: int = 0
    tokenizer: str = ""
    count: int | None = None


def _header(path: Path) -> _Header:
    """Reads the header of `write_tokens` or llm.c, or PATH.json of earlier versions."""
    with path.open("rb") as file:
        begin = file.read(12)
        if begin[:8] == _MAGIC:
            length = struct.unpack("<I", begin[8:])[0]
            fields = _fields(path, file.read(length))
            return _Header(fields["type"], 12 + length, fields["vocabulary"], fields["tokenizer"])
    if len(begin) == 12 and (kind := _LLMC.get(struct.unpack("<ii", begin[:8]))):  # type: ignore[arg-type]
        return _Header(kind, _LLMC_HEADER, count=struct.unpack("<i", begin[8:])[0])
    metadata = path.with_name(f"{path.name}.json")
    fields = _fields(metadata, metadata.read_bytes()) if metadata.is_file() else {}
    return _Header(fields.get("type", ""), tokenizer=fields.get("tokenizer", ""))


def _fields(path: Path, content: bytes) -> dict[str, Any]:
    try:
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); write the token file again") from None


def _check_ids(ids: np.ndarray, vocabulary: int, path: str) -> None:
    """Refuses ids above a vocabulary of known size."""
    if vocabulary and ids.size and int(ids.max()) >= vocabulary:
        above = ids[ids >= vocabulary]
        raise UserError(
            f"{path} has {len(above):,} ids above its vocabulary of {vocabulary:,}, such as {above[0]}; set type and "
            "vocabulary to those of the file"
        )


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
