"""Speech data set in a folder: NAME.wav (or flac, ogg, mp3) with its transcript NAME.txt."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdl.data.audio.features import SUFFIXES, read_audio
from jaxdl.data.files import check_links, list_files, reasons
from jaxdl.data.formats.parts import Reading, identity, open_parts, sample
from jaxdl.data.source import Batch, ExampleSource, Source
from jaxdl.data.splits import Range
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.text.files import read_file
from jaxdl.errors import UserError
from jaxdl.remote import local


@dataclass(frozen=True)
class _Recordings:
    """Examples of `audio` int16 [samples, ...], `rate` int32 [], `text` and `name` (bytes)."""

    files: tuple[Path, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Batch:
        audio, rate = read_audio(self.files[number])
        return {
            "audio": audio[:, 0] if audio.shape[1] == 1 else audio,
            "rate": np.array(rate, np.int32),
            "text": np.array(self.texts[number].encode()),
            "name": np.array(str(self.files[number]).encode()),
        }


def open_recordings(path: str, split: str, reading: Reading | None = None) -> Source:
    """Opens every NAME.wav, .flac, .ogg or .mp3 below `path` with its UTF-8 transcript NAME.txt.

    The only split is `train`. Hidden files and folders are skipped.

    The order is random and depends on the number of files only, so a part of the split is a fair sample.

    Example: `open_recordings("clips", "train[:90%]").read(np.array([0]))` returns `audio` int16 [1, samples] (or
    [1, samples, channels]), `rate` int32 [1], `text` and `name` (the path), both bytes [1].

    Raises:
      UserError: The folder, the split, recordings or a transcript is missing.
    """
    root = local(path)
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; 'speech:PATH' needs a folder of NAME.wav and NAME.txt files")
    listing = list_files(root, {*SUFFIXES, ".txt"})
    check_links(listing.broken)
    files = tuple(file for file in listing.files if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{root} has no WAV files; expected {root}/NAME.wav with its transcript {root}/NAME.txt")
    stems = [file.with_suffix("") for file in files]
    repeated = next((stem for stem, following in itertools.pairwise(stems) if stem == following), None)
    if repeated is not None:
        raise UserError(f"{repeated}.* are two recordings with one transcript; remove one")
    alone = [file for file in listing.files if file.suffix.lower() == ".txt" and file.with_suffix("") not in set(stems)]
    skipped = reasons(root, listing.skipped, "not a recording") + reasons(root, alone, "no recording")
    texts = [_transcript(file) for file in files]
    examples, content = _Recordings(files, tuple(texts)), identity(root, files)
    names = [str(file.relative_to(root)) for file in files]
    kept, damaged = (reading or Reading()).readable(root, examples, names)

    def open_part(part: Range) -> Source:
        rows = kept[sample(part, len(kept))]
        fingerprint = digest_of([content, texts, list(part), *damaged])
        return ExampleSource(examples, rows, fingerprint, skipped=(*skipped, *damaged))

    return open_parts(split, {"train": len(kept)}, f"speech:{path}", open_part)


def find_audio(root: Path) -> tuple[Path, ...]:
    """Returns the audio files below a folder, sorted, without hidden ones."""
    listing = list_files(root, SUFFIXES)
    check_links(listing.broken)
    return listing.files


def _transcript(file: Path) -> str:
    """Reads the transcript of a recording."""
    candidates = [file.with_suffix(suffix) for suffix in (".txt", ".TXT", ".Txt")]
    transcript = next((path for path in candidates if path.is_file()), None)
    if transcript is None:
        raise UserError(f"{file} has no transcript; write {candidates[0]}, or remove the recording")
    text = read_file(transcript).strip()
    if not text:
        raise UserError(f"{transcript} is empty; write the transcript of {file.name}, or remove both files")
    return text
