"""Throughput of the input pipeline with reader processes, against PyTorch's DataLoader.

  python -m benchmarks.pipeline [--workers=2] [--images=256] [--size=224] [--only=jpeg_train,wav]

Reads files that it writes to a temporary folder: photographs of 500x375 pixels as JPEG (quality 90) and PNG, recordings
of two seconds as WAV, and a file of 16-bit tokens. jaxdl reads them through `Dataset` or `TokenFile` and the batches of
training (random resized crop, flip) or evaluation (resize, center crop). The peer is a map-style dataset with PIL,
scipy or numpy.memmap in a DataLoader, with equal crops, sizes and dtypes. Rounds alternate. CPU time is that of the
main process and its readers. Needs the peer extra.
"""

import argparse
import dataclasses
import multiprocessing
import os
import tempfile
import time
import wave
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import measure, report
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.formats.token_file import TokenFile
from jaxdl.data.image.resize import RandomResizedCrop, ResizeCrop
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.data.pipeline import Batches, eval_batches
from jaxdl.runs.environment import tune_malloc

HEIGHT, WIDTH = 375, 500  # the most frequent size in ImageNet
RATE, SECONDS = 16_000, 2
LENGTH = 1024  # tokens per example
REPEATS = 10_000  # passes of evaluation, more than a measurement takes


def write_files(root: Path, count: int) -> None:
    """Writes images, recordings and tokens; images are random crops of two photographs of scikit-learn."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs, draws = load_sample_images().images, np.random.default_rng(0)
    for name in ("jpeg/a", "jpeg/b", "png/a", "png/b", "wav"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = (draws.integers(0, side - part + 1) for side, part in zip(photograph.shape, (HEIGHT, WIDTH)))
        image = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
        image.save(root / "jpeg" / "ab"[number % 2] / f"{number}.jpg", quality=90)
        image.save(root / "png" / "ab"[number % 2] / f"{number}.png")
        with wave.open(str(root / "wav" / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(draws.integers(-8000, 8000, RATE * SECONDS, np.int16).tobytes())
        (root / "wav" / f"{number}.txt").write_text("a word")
    draws.integers(0, 50_000, 40 * count * LENGTH, np.uint16).tofile(root / "tokens")


@dataclass(frozen=True)
class Photographs:
    """Peer's images, cropped at random and mirrored, or center-cropped, as (image, label)."""

    files: Sequence[Path]
    size: int
    training: bool

    def __len__(self) -> int:
        return len(self.files) * REPEATS

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        import random

        from PIL import Image

        path = self.files[number % len(self.files)]
        with path.open("rb") as file:
            image = Image.open(file).convert("RGB")
        box = self._random_box(image.size) if self.training else self._center_box(image.size)
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box)
        if self.training and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.array(image), int(path.parent.name == "b")

    def _random_box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Returns the box of torchvision's RandomResizedCrop."""
        import math
        import random

        for _ in range(10):
            area = size[0] * size[1] * random.uniform(0.08, 1)
            ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= size[0] and 0 < height <= size[1]:
                left, top = random.randint(0, size[0] - width), random.randint(0, size[1] - height)
                return left, top, left + width, top + height
        return self._center_box(size)

    def _center_box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        side = min(size) * 7 / 8
        left, top = (size[0] - side) / 2, (size[1] - side) / 2
        return left, top, left + side, top + side


@dataclass(frozen=True)
class Recordings:
    """Peer's recordings, int16 [samples], and their rate."""

    files: Sequence[Path]

    def __len__(self) -> int:
        return len(self.files) * REPEATS

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        from scipy.io import wavfile

        rate, samples = wavfile.read(self.files[number % len(self.files)])
        return samples, rate


@dataclass(frozen=True)
class Windows:
    """Peer's windows of memory-mapped token ids, int32 [LENGTH + 1]."""

    ids: np.ndarray

    def __len__(self) -> int:
        return (len(self.ids) - 1) // LENGTH

    def __getitem__(self, number: int) -> np.ndarray:
        return self.ids[number * LENGTH : (number + 1) * LENGTH + 1].astype(np.int32)


class Reader:
    """Contestant that takes batches from an endless iterator."""

    def __init__(self, start: Callable[..., Iterator[Any]], *arguments: Any):
        others = set(multiprocessing.active_children())
        self._batches = start(*arguments)
        next(self._batches)
        self._readers = [child.pid for child in multiprocessing.active_children() if child not in others]
        self._before, self._main_seconds, self._steps = self._reader_seconds(), 0.0, 0

    def run(self, steps: int) -> float:
        before = time.process_time()
        for _ in range(steps):
            next(self._batches)
        self._main_seconds += time.process_time() - before
        self._steps += steps
        return 0.0

    def milliseconds(self) -> float:
        """Returns the CPU time per example of the main process and the readers, which read ahead between rounds."""
        return 1000 * (self._main_seconds + self._reader_seconds() - self._before) / (self._steps * BATCH)

    def _reader_seconds(self) -> float:
        """Returns the CPU time of the readers; Linux only."""
        stats = [Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split() for reader in self._readers]
        return sum(int(ticks) for stat in stats for ticks in stat[11:13]) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if isinstance(self._batches, Generator):
            self._batches.close()


def ours(kind: str, root: Path, size: int, workers: int) -> Iterator[Any]:
    """Yields batches of jaxdl, those of training with their number."""
    name = {"jpeg": f"folder:{root}/jpeg", "png": f"folder:{root}/png", "wav": f"speech:{root}/wav"}
    train = (
        TokenFile(str(root / "tokens"), LENGTH, "uint16")
        if kind == "tokens"
        else Dataset(name[kind.partition("_")[0]], "train")
    )
    source: Any = train.load()
    if kind.endswith("_eval"):
        source = dataclasses.replace(source, rows=np.tile(source.rows, REPEATS))
        return eval_batches(source, BATCH, (ResizeCrop(size * 8 // 7, size),), workers=workers)
    augment = (RandomResizedCrop(size), RandomFlip()) if kind.endswith("_train") else ()
    data = Data(train, {}, BATCH, augment=augment, workers=workers)
    return Batches(source, data, seed=0).iterate(0)


def theirs(kind: str, root: Path, size: int, workers: int) -> Iterator[Any]:
    """Yields batches of a DataLoader, without end."""
    from torch.utils.data import DataLoader, RandomSampler

    form, _, purpose = kind.partition("_")
    files = sorted(path for path in (root / form).rglob("*") if path.suffix in (".jpg", ".png", ".wav"))
    dataset: Any = Photographs(files, size, purpose == "train")
    if form in ("wav", "tokens"):
        dataset = Recordings(files) if form == "wav" else Windows(np.memmap(root / "tokens", np.uint16, "r"))
    sampler = None if purpose == "eval" else RandomSampler(dataset, replacement=True, num_samples=10**7)
    return iter(DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers))


BATCH = 64
WORKLOADS = {  # name -> (title, unit, batches per round relative to --steps)
    "jpeg_train": ("JPEG, training", "images/s", 1),
    "jpeg_eval": ("JPEG, evaluation", "images/s", 1),
    "png_train": ("PNG, training", "images/s", 1),
    "wav": ("WAV", "files/s", 10),
    "tokens": ("token file", "windows/s", 20),
}


def compare(kind: str, root: Path, arguments: argparse.Namespace) -> None:
    """Measures one workload and prints its table."""
    title, unit, factor = WORKLOADS[kind]
    # Examples in memory are read in the prefetch thread, as recipes do; DataLoader may use readers or not.
    readers = {"DataLoader": arguments.workers} | ({"DataLoader, 0 workers": 0} if kind == "tokens" else {})
    settings = kind, root, arguments.size
    contestants = {name: Reader(theirs, *settings, workers) for name, workers in readers.items()}
    contestants = {"jaxdl": Reader(ours, *settings, 0 if kind == "tokens" else arguments.workers), **contestants}
    rates = measure(contestants, BATCH, factor * arguments.steps, arguments.rounds, settle=6 * arguments.workers)
    report(f"{title}, {arguments.workers} workers", rates, BATCH, unit)
    for name, reader in contestants.items():
        print(f"{name}: {reader.milliseconds():.3f} ms of CPU time per example")
        reader.close()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="reader processes of each contestant")
    parser.add_argument("--images", type=int, default=256, help="files of each format")
    parser.add_argument("--size", type=int, default=224, help="side of the images in a batch")
    parser.add_argument("--only", default="", help=f"workloads, comma-separated, of {', '.join(WORKLOADS)}")
    parser.add_argument("--steps", type=int, default=16, help="batches per round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    only = list(filter(None, arguments.only.split(","))) or list(WORKLOADS)
    if unknown := set(only) - set(WORKLOADS):
        raise SystemExit(f"--only: no workload {', '.join(sorted(unknown))}; workloads: {', '.join(WORKLOADS)}")
    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), arguments.images)
        for kind in only:
            compare(kind, Path(folder), arguments)


if __name__ == "__main__":
    main()
