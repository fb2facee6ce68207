"""SpecAugment and speed perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class SpecAugment:
    """Sets bands and stretches of time to 0, their mean (Park et al., "SpecAugment", arXiv:1904.08779), no warping.

    Attributes:
      time_masks, frequency_masks: how many of each an example gets; they may overlap.
      time_width: frames a mask covers at most; its width is uniform from 0 on.
      frequency_width: bands a mask covers at most.
      time_share: a mask covers at most this share of an example's valid frames.
    """

    time_masks: int = 2
    time_width: int = 25
    frequency_masks: int = 2
    frequency_width: int = 12
    time_share: float = 0.2

    def __post_init__(self):
        if min(self.time_masks, self.time_width, self.frequency_masks, self.frequency_width) < 0:
            raise UserError("SpecAugment: numbers and widths of masks must be 0 or more")
        if not 0.0 <= self.time_share <= 1.0:
            raise UserError(f"SpecAugment.time_share={self.time_share}: must lie between 0 and 1")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        frames, length = batch["frames"], batch["frames_length"].astype(np.int64)
        count, time, mels = frames.shape
        widest = np.minimum(self.time_width, np.floor(self.time_share * length).astype(np.int64))
        hidden = _masks(draws, self.time_masks, widest, length, time)[:, :, None]
        bands = np.full(count, mels)
        narrowest = np.minimum(self.frequency_width, bands)
        hidden = hidden | _masks(draws, self.frequency_masks, narrowest, bands, mels)[:, None, :]
        return batch | {"frames": np.where(hidden, np.float32(0), frames)}


def _masks(draws: Draws, count: int, widest: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """`count` stretches of up to `widest` [batch] places, within the first `length` [batch]: bool [batch, size]."""
    places = np.arange(size)
    hidden = np.zeros((len(length), size), bool)
    for _ in range(count):
        width = draws.integers(0, widest + 1)
        start = draws.integers(0, length - width + 1)[:, None]
        hidden |= (places >= start) & (places < start + width[:, None])
    return hidden


@dataclass(frozen=True)
class SpeedPerturb:
    """Plays each example faster or slower: frames are resampled along time, linearly (Ko et al., "Audio Augmentation
    for Speech Recognition", 2015, who resample the sound, so that its pitch changes, too).

    Attributes:
      slowest, fastest: the speed is uniform between these; 1 is as it was. An example is slowed down only as far as
        there is room for.
    """

    slowest: float = 0.9
    fastest: float = 1.1

    def __post_init__(self):
        if not 0.0 < self.slowest <= self.fastest:
            raise UserError(f"SpeedPerturb: slowest={self.slowest} must be positive and at most fastest={self.fastest}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        frames, length = batch["frames"], batch["frames_length"].astype(np.int64)
        time = frames.shape[1]
        speed = draws.between(self.slowest, self.fastest)
        changed = np.clip(np.rint(length / speed), 1, time).astype(np.int64)
        step = (length - 1) / np.maximum(changed - 1, 1)
        place = np.minimum(np.arange(time) * step[:, None], np.maximum(length - 1, 0)[:, None])
        before = np.floor(place).astype(np.int64)
        after = np.minimum(before + 1, np.maximum(length - 1, 0)[:, None])
        share = (place - before).astype(np.float32)[..., None]
        rows = np.arange(len(frames))[:, None]
        resampled = (1 - share) * frames[rows, before] + share * frames[rows, after]
        valid = np.arange(time) < changed[:, None]
        return batch | {
            "frames": np.where(valid[..., None], resampled, np.float32(0)),
            "frames_length": changed.astype(batch["frames_length"].dtype),
        }
