"""Moving digits: generated videos of pictures that bounce within a frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.image.unpaired import area_mean
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch, Loadable, read_columns
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.video.files import read_video
from jaxdl.errors import UserError

_VERSION = 1


@dataclass(frozen=True)
class MovingDigits:
    """Videos of random pictures that move at a constant speed and bounce off the borders (arXiv:1502.04681).

    Each picture starts at a random position in a random direction. Overlapping pictures show the brighter pixel.
    Pictures, positions and directions are functions of (corpus, seed, number of the video). Frames are drawn at the
    resolution of the pictures, as in Moving MNIST, and then reduced.

    Features: `frames` uint8 [videos, context, size, size, 1] and `future` uint8 [videos, horizon, size, size, 1], the
    frames that follow.

    Example: in frames of 4 pixels, a picture of 1 pixel that moves one pixel to the right per frame is at the columns
    2, 3, 2, 1, 0, 1.

    Attributes:
      corpus: Pictures, `image` uint8 [side, side, 1], white on black.
      videos: Number of videos.
      context: Number of frames to predict from.
      horizon: Number of frames to predict.
      room: Side of a frame before it is reduced, pixels of the pictures.
      size: Side of a frame, pixels, a divisor of `room`; each pixel is the mean of a square.
      digits: Pictures per video.
      speed: Distance that a picture moves per frame, as a fraction of `room` minus the side of the pictures.
      seed: Random seed.
    """

    corpus: Loadable
    videos: int
    context: int = 10
    horizon: int = 10
    room: int = 64
    size: int = 32
    digits: int = 2
    speed: float = 0.1
    seed: int = 0

    def __post_init__(self):
        counts = {name: getattr(self, name) for name in ("videos", "context", "horizon", "size", "digits")}
        for name, count in counts.items():
            if count < 1:
                raise UserError(f"MovingDigits.{name}={count} must be at least 1")
        if self.room % self.size:
            raise UserError(f"MovingDigits.size={self.size} does not divide room={self.room}; use a divisor")
        if not 0 <= self.speed <= 1:
            raise UserError(f"MovingDigits.speed={self.speed} must be from 0 to 1")

    def load(self) -> "MovingSource":
        """Opens the pictures.

        Raises:
          UserError: Pictures are not square and grey, differ in size, or are not smaller than `room`.
        """
        source = self.corpus.load()
        images = read_columns(source, ("image",))["image"]
        shapes = {np.shape(image) for image in images}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[0] != shape[1] or shape[2] != 1:
            raise UserError("MovingDigits needs grey square pictures of one size, uint8 [side, side, 1]")
        if shape[0] >= self.room:
            raise UserError(f"MovingDigits.room={self.room} must exceed the side of the pictures, {shape[0]} pixels")
        settings = {name: value for name, value in vars(self).items() if name != "corpus"}
        return MovingSource(self, np.stack(list(images)), digest_of([source.fingerprint, settings, _VERSION]))

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]) -> list[tuple[str, Batch]]:
        """Reads the frames to predict from: animations, folders of images, or arrays (.npy).

        The last `context` frames of a video are kept.

        Returns:
          Pairs (path, {`frames`}), as in the class without the first axis.

        Raises:
          UserError: A text was given, a file is not a video, or it has fewer frames than `context`.
        """
        del names
        if texts:
            raise UserError("video prediction reads animations, folders of frames or .npy files, not --text; pass one")
        examples = []
        for file in files:
            frames = read_video(file, (self.size, self.size, 1))
            if len(frames) < self.context:
                raise UserError(f"{file} has {len(frames)} frames; a prediction needs at least {self.context}")
            examples.append((str(file), {"frames": frames[-self.context :]}))
        return examples


@dataclass(frozen=True)
class MovingSource:
    """Videos of `MovingDigits`, drawn on access.

    Attributes:
      settings: Size, number and speed of the pictures.
      pictures: uint8 [pictures, side, side, 1].
    """

    settings: MovingDigits
    pictures: np.ndarray
    fingerprint: str
    in_memory: bool = True  # drawn for a whole batch at once

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return {}

    def __len__(self) -> int:
        return self.settings.videos

    def read(self, indices: np.ndarray) -> Batch:
        settings, indices = self.settings, np.asarray(indices)
        # The fingerprint separates the motions of the splits.
        draws = Draws(settings.seed ^ int(self.fingerprint[:15], 16), indices)
        steps, side = settings.context + settings.horizon, self.pictures.shape[1]
        video = np.zeros((len(indices), steps, settings.room, settings.room), np.uint8)
        row, frame = np.ogrid[: len(indices), :steps]
        for _ in range(settings.digits):
            picture = self.pictures[draws.integers(0, len(self.pictures)), ..., 0]
            down, across = self._positions(draws, steps)
            pixels = (
                row[..., None, None],
                frame[..., None, None],
                down[..., None, None] + np.arange(side)[:, None],
                across[..., None, None] + np.arange(side),
            )
            video[pixels] = np.maximum(video[pixels], picture[:, None])
        video = area_mean(video[..., None], settings.size)
        return {"frames": video[:, : settings.context], "future": video[:, settings.context :]}

    def _positions(self, draws: Draws, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns row and column of a picture's upper left corner in each frame, int64 [videos, steps] each."""
        room = self.settings.room - self.pictures.shape[1]
        start = draws.uniform(2) * room
        angle = 2 * np.pi * draws.uniform()
        velocity = self.settings.speed * room * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        path = start[:, None] + velocity[:, None] * np.arange(steps)[:, None]
        return reflected(path[..., 0], room), reflected(path[..., 1], room)


def reflected(position: np.ndarray, room: int) -> np.ndarray:
    """Folds unbounded positions into [0, room] by reflection, and rounds them to integers."""
    return np.rint(room - np.abs(position % (2 * room) - room)).astype(np.int64)
