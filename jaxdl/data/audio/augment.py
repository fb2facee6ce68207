"""SpecAugment and speed perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError


@dataclass(frozen=True)
class SpecAugment:
    """SpecAugment (Park et al., arXiv:1904.08779) without time warping.

    Masks set mel bands and time spans to 0, the mean.

    Attributes:
      time_masks, frequency_masks: Number of masks per example. They may overlap.
      time_width: Largest width of a time mask in frames. Widths are uniform from 0.
      frequency_width: Largest width of a frequency mask in mel bands.
      time_share: Largest fraction of the valid frames that one time mask covers.
    """

    time_masks: int = 2
    time_width: int = 25
    frequency_masks: int = 2
    frequency_width: int = 12
    time_share: float = 0.2

    def __post_init__(self):
        if min(self.time_masks, self.time_width, self.frequency_masks, self.frequency_width) < 0:
            raise UserError(f"{self} has a negative number or width of masks; use 0 to disable them")
        if not 0.0 <= self.time_share <= 1.0:
            raise UserError(f"SpecAugment.time_share={self.time_share} must be from 0 to 1")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        frames, length = batch["frames"], batch["frames_length"].astype(np.int64)
        count, time, mels = frames.shape
        widest = np.minimum(self.time_width, np.floor(self.time_share * length).astype(np.int64))
        masked = _masks(draws, self.time_masks, widest, length, time)[:, :, None]
        bands = np.full(count, mels)
        narrowest = np.minimum(self.frequency_width, bands)
        masked = masked | _masks(draws, self.frequency_masks, narrowest, bands, mels)[:, None, :]
        return batch | {"frames": np.where(masked, np.float32(0), frames)}


def _masks(draws: Draws, count: int, widest: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """Draws `count` spans of at most `widest` frames as a mask, bool [batch, size].

    Spans lie within the first `length` [batch] positions.
    """
    positions = np.arange(size)
    masked = np.zeros((len(length), size), bool)
    for _ in range(count):
        width = draws.integers(0, widest + 1)
        start = draws.integers(0, length - width + 1)[:, None]
        masked |= (positions >= start) & (positions < start + width[:, None])
    return masked


@dataclass(frozen=True)
class SpeedPerturb:
    """Speed perturbation by linear resampling of frames in time.

    After Ko et al. ("Audio Augmentation for Speech Recognition", 2015), which resamples the waveform and so changes the
    pitch.

    Attributes:
      slowest, fastest: Bounds of the uniform speed factor. Slowing down is limited by the padding of the example.
    """

    slowest: float = 0.9
    fastest: float = 1.1

    def __post_init__(self):
        if not 0.0 < self.slowest <= self.fastest:
            raise UserError(f"SpeedPerturb.slowest={self.slowest} must be positive and at most fastest={self.fastest}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        frames, length = batch["frames"], batch["frames_length"].astype(np.int64)
        time = frames.shape[1]
        speed = draws.between(self.slowest, self.fastest)
        changed = np.clip(np.rint(length / speed), 1, time).astype(np.int64)
        step = (length - 1) / np.maximum(changed - 1, 1)
        position = np.minimum(np.arange(time) * step[:, None], np.maximum(length - 1, 0)[:, None])
        before = np.floor(position).astype(np.int64)
        after = np.minimum(before + 1, np.maximum(length - 1, 0)[:, None])
        share = (position - before).astype(np.float32)[..., None]
        rows = np.arange(len(frames))[:, None]
        resampled = (1 - share) * frames[rows, before] + share * frames[rows, after]
        valid = np.arange(time) < changed[:, None]
        return batch | {
            "frames": np.where(valid[..., None], resampled, np.float32(0)),
            "frames_length": changed.astype(batch["frames_length"].dtype),
        }
