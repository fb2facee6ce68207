"""Corruptions of images: noise, missing pixels, blur and downsampling, drawn per example.

`corruption(keys, image)` corrupts clean images; with keys [batch] from `example_keys` the result for an example does
not depend on the rest of the batch. `corruption.read(image)` prepares images that are corrupted already. Both take
uint8 or float images [batch, height, width, channels] in [0, 255] and return `Corrupted`.

Unless stated otherwise, corrupted images are rounded to integers in [0, 255], as in an 8-bit file.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.arguments import check_choices, check_ranges
from jaxdl.training.task import Array

Range = float | tuple[float, float]  # a value, or the bounds of a uniform draw per example


class Corrupted(NamedTuple):
    """Corrupted images.

    Attributes:
      image: float32 [batch, height, width, channels] in [0, 255]; undefined at missing pixels.
      known: Validity mask, float32 [batch, height, width, 1], 0 at missing pixels. None if pixels are never missing.
    """

    image: Array
    known: Array | None = None


class Corruption:
    """Base class of corruptions."""

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        """Returns corrupted images."""
        raise NotImplementedError

    def read(self, image: Array) -> Corrupted:
        """Returns images that are corrupted already."""
        return Corrupted(jnp.asarray(image, jnp.float32))


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """Additive Gaussian noise, independent for every value.

    Attributes:
      sigma: Std in [0, 255]. A pair is the range of a uniform draw per example (blind denoising).
      clip: Whether values are rounded and clipped to [0, 255], as in a file. The papers do not clip; their task is
        easier on images with much black or white, where clipped noise is biased.
    """

    sigma: Range = 50.0
    clip: bool = True

    def __post_init__(self):
        _check_range("GaussianNoise", "sigma", self.sigma)

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        def noise(key: Array) -> Array:
            return _draw(jax.random.fold_in(key, 1), self.sigma) * jax.random.normal(key, image.shape[1:])

        noisy = image + jax.vmap(noise)(keys)
        return Corrupted(quantize(noisy) if self.clip else noisy)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    """Salt-and-pepper noise: black or white pixels, with all channels equal.

    Attributes:
      share: Probability that a pixel is replaced; black and white are equally likely. A pair is the range of a uniform
        draw per example.
    """

    share: Range = 0.1

    def __post_init__(self):
        _check_range("SaltAndPepper", "share", self.share, 1.0)

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        def draw(key: Array) -> Array:
            return jax.random.uniform(key, (*image.shape[1:3], 1)) / _draw(jax.random.fold_in(key, 1), self.share)

        uniform = jax.vmap(draw)(keys)  # below 0.5: black; in [0.5, 1): white
        return Corrupted(jnp.where(uniform < 0.5, 0.0, jnp.where(uniform < 1.0, 255.0, image.astype(jnp.float32))))


@dataclass(frozen=True)
class ShotNoise(Corruption):
    """Shot noise: Poisson photon counts, scaled back to [0, 255].

    Attributes:
      peak: Expected number of photons of the value 255; a value v has the variance `255 * v / peak`. A pair is the
        range of a uniform draw per example.
    """

    peak: Range = 30.0

    def __post_init__(self):
        _check_range("ShotNoise", "peak", self.peak)

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        def count(key: Array, image: Array) -> Array:
            peak = _draw(jax.random.fold_in(key, 1), self.peak)
            return jax.random.poisson(key, image / 255.0 * peak).astype(jnp.float32) * (255.0 / peak)

        return Corrupted(quantize(jax.vmap(count)(keys, jnp.asarray(image, jnp.float32))))


@dataclass(frozen=True)
class MissingRectangles(Corruption):
    """Missing rectangles inside the image, which may overlap.

    Attributes:
      count: Number of rectangles per image.
      area: Range of the area of a rectangle as a share of the image, drawn uniformly before sides are rounded.
      aspect: Largest ratio of the longer to the shorter side, relative to the image's sides; the log ratio is drawn
        uniformly.
      missing: Color of missing pixels in files that `read` takes, one value or one per channel. The default, white, is
        also the color that transparent pixels of PNG files are read as: erase the pixels to be filled in, or paint them
        white. If white occurs in the images, choose another color, such as (255, 0, 255), and a lossless format.
    """

    count: int = 1
    area: tuple[float, float] = (0.2, 0.3)
    aspect: float = 2.0
    missing: int | Sequence[int] = 255

    def __post_init__(self):
        if self.count < 1:
            raise UserError(f"MissingRectangles(count={self.count}): must be at least 1")
        if len(self.area) != 2 or not 0.0 < self.area[0] <= self.area[1] <= 1.0:
            raise UserError(f"MissingRectangles(area={self.area}): must be a pair with 0 < low <= high <= 1")
        if not 1.0 <= self.aspect < math.inf:
            raise UserError(f"MissingRectangles(aspect={self.aspect}): must be at least 1")
        _check_color("MissingRectangles", self.missing)

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        height, width = image.shape[1:3]

        def hole(key: Array) -> Array:
            share, ratio, down, across = jax.random.uniform(key, (4,))
            share = self.area[0] + share * (self.area[1] - self.area[0])
            stretch = jnp.exp(
                (ratio - 0.5) * math.log(self.aspect)
            )  # of the height; the width shrinks by the same factor
            inside = [
                _within(jnp.clip(jnp.rint(side * jnp.sqrt(share) * factor), 1, side), side, place)
                for side, factor, place in ((height, stretch, down), (width, 1.0 / stretch, across))
            ]
            return inside[0][:, None] & inside[1][None, :]

        def holes(key: Array) -> Array:
            return jnp.any(jax.vmap(hole)(jax.random.split(key, self.count)), axis=0)

        return Corrupted(jnp.asarray(image, jnp.float32), 1.0 - jax.vmap(holes)(keys)[..., None])

    def read(self, image: Array) -> Corrupted:
        return _read_missing(image, self.missing)


@dataclass(frozen=True)
class MissingPixels(Corruption):
    """Missing pixels, drawn independently.

    Attributes:
      share: Probability that a pixel is missing. A pair is the range of a uniform draw per example.
      missing: Color of missing pixels in files, see `MissingRectangles`.
    """

    share: Range = 0.5
    missing: int | Sequence[int] = 255

    def __post_init__(self):
        _check_range("MissingPixels", "share", self.share, 1.0)
        _check_color("MissingPixels", self.missing)

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        def draw(key: Array) -> Array:
            share = _draw(jax.random.fold_in(key, 1), self.share)
            return jax.random.uniform(key, (*image.shape[1:3], 1)) >= share

        return Corrupted(jnp.asarray(image, jnp.float32), jax.vmap(draw)(keys).astype(jnp.float32))

    def read(self, image: Array) -> Corrupted:
        return _read_missing(image, self.missing)


@dataclass(frozen=True)
class GaussianBlur(Corruption):
    """Gaussian blur, truncated at 4 std, with reflected edges, optionally followed by noise.

    Attributes:
      sigma: Std of the Gaussian in pixels.
      noise: Std in [0, 255] of Gaussian noise after the blur.
    """

    sigma: float = 1.5
    noise: float = 0.0

    def __post_init__(self):
        _check_range("GaussianBlur", "sigma", self.sigma)
        if not 0.0 <= self.noise < math.inf:
            raise UserError(f"GaussianBlur(noise={self.noise}): must be finite and at least 0")

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        down, across = (_blur_matrix(side, self.sigma) for side in image.shape[1:3])
        blurred = jnp.einsum("ih,jw,bhwc->bijc", down, across, image.astype(jnp.float32), precision="highest")
        if self.noise:
            blurred += self.noise * jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
        return Corrupted(quantize(blurred))


@dataclass(frozen=True)
class Downsampling(Corruption):
    """Downsampling by average pooling and upsampling to the original size, for super-resolution.

    `read` takes small images and returns images `factor` times as high and wide.

    Attributes:
      factor: Side of the pooling window; must divide the sides of training images.
      method: Interpolation of the upsampling, "nearest", "linear" or "cubic" (Keys 1981).
    """

    factor: int = 2
    method: str = "cubic"

    def __post_init__(self):
        check_ranges(self, factor="[2, inf)")
        check_choices(self, method=("nearest", "linear", "cubic"))

    def __call__(self, keys: Array, image: Array) -> Corrupted:
        batch, height, width, channels = image.shape
        if height % self.factor or width % self.factor:
            raise UserError(f"images of {height}x{width} are not divisible by factor={self.factor}; crop them")
        squares = (batch, height // self.factor, self.factor, width // self.factor, self.factor, channels)
        return self.read(quantize(image.astype(jnp.float32).reshape(squares).mean((2, 4))))

    def read(self, image: Array) -> Corrupted:
        batch, height, width, channels = image.shape
        shape = (batch, height * self.factor, width * self.factor, channels)
        return Corrupted(quantize(jax.image.resize(image.astype(jnp.float32), shape, self.method)))


def quantize(image: Array) -> Array:
    """Rounds values and clips them to [0, 255]; returns float32."""
    return jnp.clip(jnp.rint(image), 0.0, 255.0)


def _draw(key: Array, values: Range) -> Array:
    """Returns the value, or a uniform draw from the range."""
    low, high = values if isinstance(values, (tuple, list)) else (values, values)
    return jnp.float32(low) if low == high else jax.random.uniform(key, (), minval=low, maxval=high)


def _within(length: Array, side: int, place: Array) -> Array:
    """Returns bool [side], true on `length` adjacent pixels; `place` in [0, 1) selects one of the positions."""
    start = jnp.floor(place * (side - length + 1))
    pixels = jnp.arange(side)
    return (pixels >= start) & (pixels < start + length)


def _read_missing(image: Array, missing: int | Sequence[int]) -> Corrupted:
    if np.ndim(missing) and len(np.ravel(missing)) != image.shape[-1]:
        raise UserError(f"missing has {len(np.ravel(missing))} values, but images have {image.shape[-1]} channels")
    absent = jnp.all(jnp.asarray(image) == jnp.asarray(missing), axis=-1, keepdims=True)
    return Corrupted(jnp.asarray(image, jnp.float32), 1.0 - absent)


def _blur_matrix(side: int, sigma: float) -> np.ndarray:
    """Returns the blur of one axis as a matrix [side, side], whose rows and columns sum to 1."""
    from scipy import ndimage

    blur: Callable[..., np.ndarray] = ndimage.gaussian_filter1d
    return blur(np.eye(side), sigma, axis=0, mode="reflect", truncate=4.0).astype(np.float32)


def _check_range(kind: str, name: str, values: Range, maximum: float = math.inf) -> None:
    low, high = values if isinstance(values, (tuple, list)) and len(values) == 2 else (values, values)
    if not all(isinstance(end, (int, float)) and 0.0 < end <= maximum and end < math.inf for end in (low, high)):
        limit = "a positive number" if maximum == math.inf else f"above 0 and at most {maximum:g}"
        raise UserError(f"{kind}({name}={values}): must be {limit}, or a pair of these")
    if low > high:  # type: ignore
        raise UserError(f"{kind}({name}={values}): the first value of a pair must not exceed the second")


def _check_color(kind: str, missing: int | Sequence[int]) -> None:
    values = np.ravel(missing)
    if not len(values) or np.any((values < 0) | (values > 255) | (values != np.rint(values))):
        raise UserError(f"{kind}(missing={missing}): must be an integer in [0, 255], or one per channel")
