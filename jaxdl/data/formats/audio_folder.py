"""Speech data set in a folder: NAME.wav with its transcript NAME.txt."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdl.data.audio.features import read_wav
from jaxdl.data.formats.parts import identity, open_parts, sample
from jaxdl.data.source import Batch, ExampleSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class _Recordings:
    """Examples of `audio` int16 [samples, ...], `rate` int32 [], `text` and `name` (bytes)."""

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
    """Opens every NAME.wav below `path` with its UTF-8 transcript NAME.txt.

    The only split is `train`.

    The order is random and depends on the number of files only, so a part of the split is a fair sample.

    Example: `open_recordings("clips", "train[:90%]").read(np.array([0]))` returns `audio` int16 [1, samples] (or
    [1, samples, channels]), `rate` int32 [1], `text` and `name` (the path), both bytes [1].

    Raises:
      UserError: The folder or split does not exist, there are no WAV files, or a transcript is missing.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; 'speech:PATH' needs a folder of NAME.wav and NAME.txt files")
    files = find_wavs(root)
    if not files:
        raise UserError(f"{root} has no WAV files; expected {root}/NAME.wav with its transcript {root}/NAME.txt")
    texts = [_text(file) for file in files]
    examples, content = _Recordings(tuple(files), tuple(texts)), identity(root, files)

    def open_part(part: Range) -> Source:
        return ExampleSource(examples, sample(part, len(files)), digest_of([content, texts, list(part)]))

    return open_parts(split, {"train": len(files)}, f"speech:{path}", open_part)


def find_wavs(root: Path) -> list[Path]:
    """Returns the WAV files below a folder, sorted."""
    return sorted(file for file in root.rglob("*") if file.suffix.lower() == ".wav" and file.is_file())


def _text(file: Path) -> str:
    """Reads the transcript of a recording."""
    transcript = file.with_suffix(".txt")
    if not transcript.is_file():
        raise UserError(f"{file} has no transcript; write {transcript}, or remove the recording")
    try:
        text = transcript.read_text("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{transcript} is not UTF-8 (byte {error.start}); convert it, for example with iconv"
        ) from error
    except OSError as error:
        raise UserError(f"{transcript} cannot be read: {error.strerror}; check its permissions") from error
    if not text:
        raise UserError(f"{transcript} is empty; write the transcript of {file.name}, or remove both files")
    return text
