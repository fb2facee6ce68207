"""Mixup and CutMix."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.image.transforms import rectangles
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError


@dataclass(frozen=True)
class Mixup:
    """Mixup: `(1 - w) image + w partner`, w ~ Beta(alpha, alpha) (Zhang et al., "mixup", 2018).

    Attributes:
      alpha: Beta parameter. Larger values mix more evenly.
    """

    alpha: float

    def __post_init__(self):
        _check(self.alpha)

    def __call__(self, batch: Batch, partner: Batch, draws: Draws) -> Batch:
        _check_features(batch)
        share = _beta(self.alpha, draws).astype(np.float32)
        image, other = batch["image"].astype(np.float32), partner["image"].astype(np.float32)
        image += share[:, None, None, None] * (other - image)
        return batch | {"image": np.rint(image).astype(np.uint8)} | _labels(partner, share)


@dataclass(frozen=True)
class CutMix:
    """CutMix: pastes a rectangle of the partner into the image (Yun et al., "CutMix", 2019).

    The rectangle has the aspect of the image, a relative area ~ Beta(alpha, alpha) and a uniform centre, and is clipped
    to the image. `mix_weight` is the fraction of replaced pixels.

    Attributes:
      alpha: Beta parameter. 1 makes all areas equally likely.
    """

    alpha: float = 1.0

    def __post_init__(self):
        _check(self.alpha)

    def __call__(self, batch: Batch, partner: Batch, draws: Draws) -> Batch:
        _check_features(batch)
        _, height, width, _ = batch["image"].shape
        side = np.sqrt(_beta(self.alpha, draws))
        tall, wide = (side * height).astype(np.int64), (side * width).astype(np.int64)
        top = draws.integers(0, height) - tall // 2
        left = draws.integers(0, width) - wide // 2
        inside = rectangles(height, width, top, left, top + tall, left + wide)
        image = np.where(inside, partner["image"], batch["image"])
        return batch | {"image": image} | _labels(partner, inside.mean((1, 2, 3), dtype=np.float32))


def _check_features(batch: Batch) -> None:
    """Refuses features with positions in the image, which cannot be blended like a label."""
    spatial = [name for name in ("boxes", "mask", "instances") if name in batch]
    if spatial:
        raise UserError(
            f"Mixup and CutMix blend image labels only, but the batch has '{spatial[0]}'; set data.mix=None"
        )


def _check(alpha: float) -> None:
    if alpha <= 0:
        raise UserError(f"alpha={alpha} of Mixup or CutMix must be positive; disable mixing with data.mix=None")


def _beta(alpha: float, draws: Draws) -> np.ndarray:
    """Draws from Beta(alpha, alpha), [batch], by inverting the distribution function."""
    from scipy.special import betaincinv

    return betaincinv(alpha, alpha, draws.uniform())


def _labels(partner: Batch, share: np.ndarray) -> Batch:
    return {"mix_label": partner["label"], "mix_weight": share}
