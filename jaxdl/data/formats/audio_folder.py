"""A folder of recordings and what is said in them: NAME.wav and NAME.txt."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdl.data.audio.features import read_wav
from jaxdl.data.random import shuffled
from jaxdl.data.source import Batch, ExampleSource, JoinedSource, Source
from jaxdl.data.splits import parse_split
from jaxdl.data.store.prepared import DIGEST_LIMIT, digest, digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class _Recordings:
    """`audio` int16 [samples], or [samples, channels] of more than one, `rate` int32 [], `text` and `name`, bytes."""

    files: tuple[Path, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Batch:
        audio, rate = read_wav(self.files[number])
        audio = np.rint(np.clip(audio, -1.0, 32767 / 32768) * 32768).astype(np.int16)
        return {
            "audio": audio[:, 0] if audio.shape[1] == 1 else audio,
            "rate": np.array(rate, np.int32),
            "text": np.array(self.texts[number].encode()),
            "name": np.array(str(self.files[number]).encode()),
        }


def open_recordings(path: str, split: str) -> Source:
    """Every NAME.wav below `path`, with the text in NAME.txt beside it (UTF-8), all of it one split, `train`.

    Loads as `audio` int16 [samples], `rate`, `text`, and `name`, the path. Files are taken in a random order that
    depends on how many there are alone, so that part of a split is a fair sample of it.

    Raises:
      UserError: no such folder, no wav file in it, a wav file without text, no such split.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; 'speech:PATH' needs one with files NAME.wav and NAME.txt")
    files = find_wavs(root)
    if not files:
        raise UserError(f"no wav files in {root}: expected {root}/NAME.wav, with what is said in it in {root}/NAME.txt")
    texts = [_text(file) for file in files]
    parts = []
    for part in parse_split(split, {"train": len(files)}, f"speech:{path}"):
        rows = shuffled(np.arange(len(files)), len(files), seed=0)[part.start : part.stop]
        fingerprint = digest_of([_identity(root, files), texts, list(part)])
        parts.append(ExampleSource(_Recordings(tuple(files), tuple(texts)), rows, fingerprint))
    return parts[0] if len(parts) == 1 else JoinedSource(tuple(parts), digest_of([p.fingerprint for p in parts]))


def find_wavs(root: Path) -> list[Path]:
    """The wav files below a folder, sorted."""
    return sorted(file for file in root.rglob("*") if file.suffix.lower() == ".wav" and file.is_file())


def _text(file: Path) -> str:
    """What is said in a recording."""
    place = file.with_suffix(".txt")
    if not place.is_file():
        raise UserError(f"{file} has no text: write what is said in it into {place}, or take it out of the folder")
    try:
        text = place.read_text("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 (byte {error.start}); save it as UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}") from error
    if not text:
        raise UserError(f"{place} is empty: write what is said in {file.name} into it, or take both out of the folder")
    return text


def _identity(root: Path, files: list[Path]) -> list:
    """Name and size of every file, and the SHA-256 of each when all of them are few bytes."""
    sizes = [file.stat().st_size for file in files]
    small = sum(sizes) <= DIGEST_LIMIT
    return [[str(file.relative_to(root)), size, digest(file) if small else None] for file, size in zip(files, sizes)]
