"""Batch transforms of uint8 images.

A transform maps (batch, `Draws`) to a batch. It changes `image` uint8 [batch, height, width, channels] and the features
that follow its pixels (see `jaxdl.data.image.geometry`). Its random numbers depend on the position of the example in
the run only, so the result is independent of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxdl.data.image import geometry
from jaxdl.data.image.files import Picture
from jaxdl.data.random import Draws, check_interval
from jaxdl.data.source import Batch
from jaxdl.errors import UserError


class Transform(Protocol):
    """Function of a batch and its random numbers; a frozen dataclass or a plain function.

    A transform with the class attribute `only_labels = True` is skipped for files without labels, in prediction. With
    `takes_pictures = True`, `image` may be a `jaxdl.data.image.files.Picture`.
    """

    def __call__(self, batch: Batch, draws: Draws) -> Batch: ...


class Mix(Protocol):
    """Function that blends each example with a partner, both already transformed.

    Returns the batch with the blended `image`, `mix_label` int32 [batch] (the partner's label) and `mix_weight`
    float32 [batch] (the partner's weight).
    """

    def __call__(self, batch: Batch, partner: Batch, draws: Draws) -> Batch: ...


def apply(transforms: Sequence[Transform], batch: Batch, draws: Draws) -> Batch:
    """Applies transforms in order, each with independent random numbers."""
    for number, transform in enumerate(transforms):
        if not getattr(transform, "takes_pictures", False):
            batch = _arrays(batch)
        batch = transform(batch, draws.fold(number))
    return _arrays(batch)


def _arrays(batch: Batch) -> Batch:
    """Replaces a picture by its pixels."""
    return batch | {name: value.pixels()[None] for name, value in batch.items() if isinstance(value, Picture)}


@dataclass(frozen=True)
class RandomFlip:
    """Random horizontal flip with probability 0.5."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        flip = draws.uniform() < 0.5
        image = batch["image"]
        flipped = image.copy()
        # One strided copy per channel takes 0.05 ms at 224x224, as whole pixels 0.14; a slice saves a temporary array.
        rows = slice(None) if flip.all() else flip
        for channel in range(image.shape[3] if flip.any() else 0):
            flipped[rows, ..., channel] = image[rows, :, ::-1, channel]
        return batch | {"image": flipped} | geometry.mirror(batch, flip)


@dataclass(frozen=True)
class RandomCrop:
    """Random translation by padding and cropping.

    Attributes:
      padding: Largest translation in pixels, in each direction.
      mode: "constant" pads with 0. "reflect" mirrors the image at its border; it is refused with boxes or instances,
        because mirrored objects would be unlabelled.
    """

    padding: int
    mode: str = "constant"

    def __post_init__(self):
        if self.mode not in ("constant", "reflect"):
            raise UserError(f"RandomCrop.mode='{self.mode}' is unknown; use 'constant' or 'reflect'")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        image = batch["image"]
        count, height, width, channels = image.shape
        top = draws.integers(0, 2 * self.padding + 1)
        left = draws.integers(0, 2 * self.padding + 1)
        padded = self._pad(image).reshape(count, height + 2 * self.padding, -1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width * channels), axis=(1, 2))  # type: ignore
        moved = self._companions(batch, top - self.padding, left - self.padding)
        return batch | {"image": windows[np.arange(count), top, left * channels].reshape(image.shape)} | moved

    def _pad(self, image: np.ndarray) -> np.ndarray:
        count, height, width, channels = image.shape
        side = self.padding
        if self.mode == "reflect":
            return np.pad(image, ((0, 0), (side, side), (side, side), (0, 0)), mode="reflect")
        # np.pad takes three times as long.
        padded = np.zeros((count, height + 2 * side, width + 2 * side, channels), image.dtype)
        padded[:, side : side + height, side : side + width] = image
        return padded

    def _companions(self, batch: Batch, top: np.ndarray, left: np.ndarray) -> Batch:
        _, height, width, _ = batch["image"].shape
        if self.mode == "reflect":
            if "boxes" in batch or "instances" in batch:
                raise UserError(
                    "RandomCrop(mode='reflect') would duplicate objects without their boxes; use mode='constant'"
                )
            if "mask" in batch:  # mirrored pixels keep the class of their origin
                side = self.padding
                mask = np.pad(batch["mask"], ((0, 0), (side, side), (side, side)), mode="reflect")
                batch, top, left = batch | {"image": mask[..., None], "mask": mask}, top + side, left + side
        return geometry.cut(batch, np.stack([top, left, top + height, left + width], 1), height, width)


@dataclass(frozen=True)
class RandomAffine:
    """Random affine transform about the image centre, bilinear, with 0 outside the image.

    For small images, because it materializes [batch, height, width] coordinates. Boxes become axis-aligned boxes
    around their transformed corners.

    Attributes:
      degrees: Largest rotation in either direction, in degrees.
      translate: Largest translation in either direction, down and across, in pixels.
      scale: (minimum, maximum) magnification.
      shear: Largest horizontal shear in either direction, in degrees.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0

    def __post_init__(self):
        check_interval("RandomAffine.scale", self.scale)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        angle = np.deg2rad(draws.between(-self.degrees, self.degrees))
        slant = np.tan(np.deg2rad(draws.between(-self.shear, self.shear)))
        scale = draws.between(*self.scale)
        down = draws.between(-self.translate, self.translate)
        across = draws.between(-self.translate, self.translate)
        cos, sin = np.cos(angle), np.sin(angle)
        # Output to input: inverse translation, then inverse scale and rotation, then inverse shear.
        rows = np.stack([cos / scale, -sin / scale], axis=1)
        columns = np.stack([sin / scale, cos / scale], axis=1) - slant[:, None] * rows
        matrix, shift = np.stack([rows, columns], axis=1), np.stack([down, across], 1)
        return batch | {"image": _warp(batch["image"], matrix, shift)} | geometry.warp(batch, matrix, shift)


def _warp(image: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Warps bilinearly: `out[p] = image[centre + matrix (p - centre - shift)]`.

    Args:
      image: uint8 [batch, height, width, channels].
      matrix: Matrices over (row, column), [batch, 2, 2].
      shift: Translation (down, right) in pixels, [batch, 2].
    """
    count, height, width, channels = image.shape
    source = geometry.affine_sources(matrix, shift, height, width)
    # A border of one zero pixel, to which all positions outside the image are clipped.
    padded = np.zeros((count, height + 2, width + 2, channels), np.float32)
    padded[:, 1:-1, 1:-1] = image
    y = np.clip(source[:, 0] + 1, 0, height + 0.999)
    x = np.clip(source[:, 1] + 1, 0, width + 0.999)
    top, left = y.astype(np.int32), x.astype(np.int32)
    down, right = (y - top)[..., None], (x - left)[..., None]
    corner = (np.arange(count)[:, None, None] * (height + 2) + top) * (width + 2) + left
    pixels = [_take(padded, corner + step) for step in (0, 1, width + 2, width + 3)]
    upper = pixels[0] + right * (pixels[1] - pixels[0])
    lower = pixels[2] + right * (pixels[3] - pixels[2])
    return np.rint(upper + down * (lower - upper)).astype(np.uint8)


def _take(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Gathers flat pixel indices [batch, height, width] from all images."""
    channels = image.shape[-1]
    if channels == 1:  # several times faster without the channel axis
        return image.reshape(-1).take(pixels, mode="clip")[..., None]
    return image.reshape(-1, channels).take(pixels, axis=0, mode="clip")


@dataclass(frozen=True)
class Cutout:
    """Cutout: sets a random square to 0 (DeVries and Taylor, 2017, arXiv:1708.04552).

    Attributes:
      size: Side of the square in pixels. It is clipped to the image.
    """

    size: int

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        top = draws.integers(0, height) - self.size // 2
        left = draws.integers(0, width) - self.size // 2
        inside = rectangles(height, width, top, left, top + self.size, left + self.size)
        return batch | {"image": np.where(inside, np.uint8(0), batch["image"])}


@dataclass(frozen=True)
class RandomErasing:
    """Random erasing: sets a random rectangle to 0 (Zhong et al., 2020, arXiv:1708.04896).

    Attributes:
      probability: Fraction of images with a rectangle.
      area: (minimum, maximum) fraction of the image area.
      ratio: (minimum, maximum) aspect, height / width.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self):
        check_interval("RandomErasing.area", self.area)
        check_interval("RandomErasing.ratio", self.ratio)

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        _, height, width, _ = batch["image"].shape
        chosen = draws.uniform() < self.probability
        area = draws.between(*self.area) * height * width
        ratio = np.exp(draws.between(np.log(self.ratio[0]), np.log(self.ratio[1])))
        tall = np.clip(np.rint(np.sqrt(area * ratio)), 1, height).astype(np.int64) * chosen
        wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, width).astype(np.int64)
        top = draws.integers(0, height - tall + 1)
        left = draws.integers(0, width - wide + 1)
        inside = rectangles(height, width, top, left, top + tall, left + wide)
        return batch | {"image": np.where(inside, np.uint8(0), batch["image"])}


def rectangles(
    height: int, width: int, top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Returns one rectangle per image, bool [batch, height, width, 1].

    `bottom` and `right` are exclusive.
    """
    y, x = np.arange(height), np.arange(width)
    rows = (y >= top[:, None]) & (y < bottom[:, None])
    columns = (x >= left[:, None]) & (x < right[:, None])
    return (rows[:, :, None] & columns[:, None, :])[..., None]


_LUMA = np.array([299, 587, 114])  # weights of R, G, B in thousandths (ITU-R BT.601)


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast and saturation, in this order (Howard, 2013, arXiv:1312.5402).

    Each factor is uniform in [1 - strength, 1 + strength]. Brightness scales all values, contrast scales them about the
    mean grey of the image, saturation about the grey of the pixel. Values are rounded and clipped once, at the end.

    Attributes:
      brightness, contrast, saturation: Strengths from 0 (off) to 1. Saturation does not change grey images.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"ColorJitter.{name}={getattr(self, name)} must be from 0 to 1")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        image = batch["image"]
        if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
            raise UserError(
                f"ColorJitter needs uint8 images of 1 or 3 channels; got {image.dtype} of {image.shape[-1]}; apply it "
                "before transforms that change the dtype"
            )
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = (1 + strength * (2 * draws.uniform() - 1) for strength in strengths)
        bright, contrast, saturation = (factor.astype(np.float32)[:, None, None, None] for factor in factors)
        # Integers, so that the mean is independent of the summation order.
        grey = 1000 * image.astype(np.int32) if image.shape[-1] == 1 else (image @ _LUMA)[..., None]
        mean = (grey.sum((1, 2, 3), dtype=np.int64) / (1000 * image.shape[1] * image.shape[2])).astype(np.float32)
        changed = saturation * contrast * bright * image
        if self.saturation and image.shape[-1] == 3:
            changed += (1 - saturation) * contrast * bright * (grey / 1000).astype(np.float32)
        elif image.shape[-1] == 1:
            changed = contrast * bright * image
        changed += (1 - contrast) * bright * mean[:, None, None, None]
        return batch | {"image": np.clip(np.rint(changed), 0, 255).astype(np.uint8)}


@dataclass(frozen=True)
class RandomHue:
    """Random hue: rotates colours about the grey axis of the RGB cube.

    Attributes:
      degrees: Largest rotation in either direction. 180 makes all hues equally likely.
    """

    degrees: float = 180.0

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        image = batch["image"]
        if image.dtype != np.uint8 or image.shape[-1] != 3:
            raise UserError(f"RandomHue needs uint8 images of 3 channels; got {image.dtype} of {image.shape[-1]}")
        angle = np.deg2rad(draws.between(-self.degrees, self.degrees)).astype(np.float32)
        # Rodrigues' formula for the axis (1, 1, 1) / sqrt(3); the matrix is circulant.
        even, odd = (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(np.float32(3))
        row = [entry[:, None, None] for entry in (np.cos(angle) + even, even - odd, even + odd)]
        values = [image[..., channel].astype(np.float32) for channel in range(3)]
        turned = [sum(row[(source - channel) % 3] * values[source] for source in range(3)) for channel in range(3)]
        return batch | {"image": np.clip(np.rint(np.stack(turned, axis=-1)), 0, 255).astype(np.uint8)}
