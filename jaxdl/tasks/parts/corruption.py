"""What can be wrong with an image: noise, holes, blur, too few pixels. Pure functions of one batch, drawn per example.

A corruption is called as `corruption(keys, image)`, keys [batch] from `example_keys`, so that an example is spoilt the
same way however the batch is cut, and `corruption.read(image)` says what a network is given of an image that comes
spoilt already. Both take images uint8 or float [batch, height, width, channels] in 0..255 and return `Given`.

Unless said otherwise the spoilt image is what a file of 8 bits can hold: whole numbers in 0..255.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.training.task import Array

Range = float | tuple[float, float]  # one value, or the ends between which every example draws its own


class Given(NamedTuple):
    """
    Attributes:
      image: float32 [batch, height, width, channels] in 0..255; where pixels are missing, anything.
      known: float32 [batch, height, width, 1], 1 where a pixel is there and 0 where it is missing; None where no pixel
        ever is.
    """

    image: Array
    known: Array | None = None


class Corruption(Protocol):
    def __call__(self, keys: Array, image: Array) -> Given: ...

    def read(self, image: Array) -> Given: ...


@dataclass(frozen=True)
class GaussianNoise:
    """Adds independent normal noise to every value.

    Attributes:
      sigma: standard deviation in 0..255; a pair: every example draws its own in between, for a network that is to know
        no level (blind denoising).
      clip: round and cut to 0..255, as a file does. The papers' noise is not cut; an image of much black or white then
        tells more, since its noise has mean 0 there, too.
    """

    sigma: Range = 50.0
    clip: bool = True

    def __post_init__(self):
        _check_range("GaussianNoise", "sigma", self.sigma)

    def __call__(self, keys: Array, image: Array) -> Given:
        def noise(key: Array) -> Array:
            return _drawn(jax.random.fold_in(key, 1), self.sigma) * jax.random.normal(key, image.shape[1:])

        noisy = image + jax.vmap(noise)(keys)
        return Given(stored(noisy) if self.clip else noisy)

    def read(self, image: Array) -> Given:
        return Given(jnp.asarray(image, jnp.float32))


@dataclass(frozen=True)
class SaltAndPepper:
    """Makes pixels black or white, all their channels together.

    Attributes:
      share: probability of a pixel; black and white are as likely. A pair: every example draws its own in between.
    """

    share: Range = 0.1

    def __post_init__(self):
        _check_range("SaltAndPepper", "share", self.share, 1.0)

    def __call__(self, keys: Array, image: Array) -> Given:
        def draw(key: Array) -> Array:
            return jax.random.uniform(key, (*image.shape[1:3], 1)) / _drawn(jax.random.fold_in(key, 1), self.share)

        uniform = jax.vmap(draw)(keys)  # below 0.5 black, from there to 1 white
        return Given(jnp.where(uniform < 0.5, 0.0, jnp.where(uniform < 1.0, 255.0, image.astype(jnp.float32))))

    def read(self, image: Array) -> Given:
        return Given(jnp.asarray(image, jnp.float32))


@dataclass(frozen=True)
class ShotNoise:
    """The noise of counting photons: every value becomes a Poisson number of photons, brought back to 0..255.

    Attributes:
      peak: photons that 255 stands for; a value v has the variance `255 * v / peak`. A pair: every example draws its
        own in between.
    """

    peak: Range = 30.0

    def __post_init__(self):
        _check_range("ShotNoise", "peak", self.peak)

    def __call__(self, keys: Array, image: Array) -> Given:
        def count(key: Array, image: Array) -> Array:
            peak = _drawn(jax.random.fold_in(key, 1), self.peak)
            return jax.random.poisson(key, image / 255.0 * peak).astype(jnp.float32) * (255.0 / peak)

        return Given(stored(jax.vmap(count)(keys, jnp.asarray(image, jnp.float32))))

    def read(self, image: Array) -> Given:
        return Given(jnp.asarray(image, jnp.float32))


@dataclass(frozen=True)
class MissingRectangles:
    """Takes out rectangles that lie inside the image and may overlap.

    Attributes:
      count: rectangles an image.
      area: of each, as a share of the image, drawn uniformly in between; before sides are rounded to whole pixels.
      aspect: the largest ratio of the longer to the shorter side, on the scale of the image's own sides; a ratio's
        logarithm is drawn uniformly.
      missing: the mark by which `read` knows missing pixels: they have exactly this value, one number for all channels
        or one a channel. White by default, which is also what a transparent pixel of a PNG file is read as: so erase
        what is to be filled in, or paint it white. Where white occurs in your images choose another, such as the
        magenta (255, 0, 255), and save without loss (no JPEG).
    """

    count: int = 1
    area: tuple[float, float] = (0.2, 0.3)
    aspect: float = 2.0
    missing: int | Sequence[int] = 255

    def __post_init__(self):
        if self.count < 1:
            raise UserError(f"MissingRectangles(count={self.count}): must be at least 1")
        if len(self.area) != 2 or not 0.0 < self.area[0] <= self.area[1] <= 1.0:
            raise UserError(f"MissingRectangles(area={self.area}): give two shares with 0 < low <= high <= 1")
        if not 1.0 <= self.aspect < math.inf:
            raise UserError(f"MissingRectangles(aspect={self.aspect}): must be at least 1")
        _check_mark("MissingRectangles", self.missing)

    def __call__(self, keys: Array, image: Array) -> Given:
        height, width = image.shape[1:3]

        def hole(key: Array) -> Array:
            share, ratio, down, across = jax.random.uniform(key, (4,))
            share = self.area[0] + share * (self.area[1] - self.area[0])
            stretch = jnp.exp((ratio - 0.5) * math.log(self.aspect))  # of the height; the width shrinks as much
            inside = [
                _within(jnp.clip(jnp.rint(side * jnp.sqrt(share) * factor), 1, side), side, place)
                for side, factor, place in ((height, stretch, down), (width, 1.0 / stretch, across))
            ]
            return inside[0][:, None] & inside[1][None, :]

        def holes(key: Array) -> Array:
            return jnp.any(jax.vmap(hole)(jax.random.split(key, self.count)), axis=0)

        return Given(jnp.asarray(image, jnp.float32), 1.0 - jax.vmap(holes)(keys)[..., None])

    def read(self, image: Array) -> Given:
        return _marked(image, self.missing)


@dataclass(frozen=True)
class MissingPixels:
    """Takes out pixels, each by itself.

    Attributes:
      share: probability of a pixel; a pair: every example draws its own in between.
      missing: the mark of missing pixels in a file, see `MissingRectangles`.
    """

    share: Range = 0.5
    missing: int | Sequence[int] = 255

    def __post_init__(self):
        _check_range("MissingPixels", "share", self.share, 1.0)
        _check_mark("MissingPixels", self.missing)

    def __call__(self, keys: Array, image: Array) -> Given:
        def draw(key: Array) -> Array:
            share = _drawn(jax.random.fold_in(key, 1), self.share)
            return jax.random.uniform(key, (*image.shape[1:3], 1)) >= share

        return Given(jnp.asarray(image, jnp.float32), jax.vmap(draw)(keys).astype(jnp.float32))

    def read(self, image: Array) -> Given:
        return _marked(image, self.missing)


@dataclass(frozen=True)
class GaussianBlur:
    """Blurs by a Gaussian that is cut off at 4 deviations, the image mirrored at its edges; then noise, if any.

    Attributes:
      sigma: of the Gaussian, in pixels.
      noise: standard deviation of normal noise after it, in 0..255.
    """

    sigma: float = 1.5
    noise: float = 0.0

    def __post_init__(self):
        _check_range("GaussianBlur", "sigma", self.sigma)
        if not 0.0 <= self.noise < math.inf:
            raise UserError(f"GaussianBlur(noise={self.noise}): must be 0 or a positive number")

    def __call__(self, keys: Array, image: Array) -> Given:
        down, across = (_blur_matrix(side, self.sigma) for side in image.shape[1:3])
        blurred = jnp.einsum("ih,jw,bhwc->bijc", down, across, image.astype(jnp.float32), precision="highest")
        if self.noise:
            blurred += self.noise * jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
        return Given(stored(blurred))

    def read(self, image: Array) -> Given:
        return Given(jnp.asarray(image, jnp.float32))


@dataclass(frozen=True)
class Downsampling:
    """Takes the mean of squares of pixels, and brings the small image back to size: super-resolution.

    `read` takes the small image, and gives one that is `factor` times as high and wide.

    Attributes:
      factor: the side of a square; must divide the sides of the images that are learnt from.
      method: of bringing it back to size, "nearest", "linear" or "cubic" (Keys 1981).
    """

    factor: int = 2
    method: str = "cubic"

    def __post_init__(self):
        if self.factor < 2:
            raise UserError(f"Downsampling(factor={self.factor}): must be at least 2")
        if self.method not in ("nearest", "linear", "cubic"):
            raise UserError(f"Downsampling(method={self.method!r}): use 'nearest', 'linear' or 'cubic'")

    def __call__(self, keys: Array, image: Array) -> Given:
        del keys  # nothing is drawn
        batch, height, width, channels = image.shape
        if height % self.factor or width % self.factor:
            raise UserError(f"images of {height}x{width} cannot be made {self.factor} times smaller: cut them to size")
        squares = (batch, height // self.factor, self.factor, width // self.factor, self.factor, channels)
        return self.read(stored(image.astype(jnp.float32).reshape(squares).mean((2, 4))))

    def read(self, image: Array) -> Given:
        batch, height, width, channels = image.shape
        shape = (batch, height * self.factor, width * self.factor, channels)
        return Given(stored(jax.image.resize(image.astype(jnp.float32), shape, self.method)))


def stored(image: Array) -> Array:
    """Values as 8 bits hold them, rounded and cut to 0..255; still float32."""
    return jnp.clip(jnp.rint(image), 0.0, 255.0)


def _drawn(key: Array, values: Range) -> Array:
    """The value, or one drawn uniformly between the two."""
    low, high = values if isinstance(values, (tuple, list)) else (values, values)
    return jnp.float32(low) if low == high else jax.random.uniform(key, (), minval=low, maxval=high)


def _within(length: Array, side: int, place: Array) -> Array:
    """Bool [side], true on `length` pixels in a row; `place` in [0, 1) says which of the possible rows."""
    start = jnp.floor(place * (side - length + 1))
    pixels = jnp.arange(side)
    return (pixels >= start) & (pixels < start + length)


def _marked(image: Array, missing: int | Sequence[int]) -> Given:
    if np.ndim(missing) and len(np.ravel(missing)) != image.shape[-1]:
        raise UserError(f"missing has {len(np.ravel(missing))} values, images have {image.shape[-1]} channels")
    gone = jnp.all(jnp.asarray(image) == jnp.asarray(missing), axis=-1, keepdims=True)
    return Given(jnp.asarray(image, jnp.float32), 1.0 - gone)


def _blur_matrix(side: int, sigma: float) -> np.ndarray:
    """[side, side]: what every pixel of a blurred row takes from each; rows and columns add up to 1."""
    from scipy import ndimage

    blur: Callable[..., np.ndarray] = ndimage.gaussian_filter1d
    return blur(np.eye(side), sigma, axis=0, mode="reflect", truncate=4.0).astype(np.float32)


def _check_range(kind: str, name: str, values: Range, most: float = math.inf) -> None:
    low, high = values if isinstance(values, (tuple, list)) and len(values) == 2 else (values, values)
    if not all(isinstance(end, (int, float)) and 0.0 < end <= most and end < math.inf for end in (low, high)):
        limit = "a positive number" if most == math.inf else f"above 0 and at most {most:g}"
        raise UserError(f"{kind}({name}={values}): must be {limit}, or a pair of such")
    if low > high:  # type: ignore
        raise UserError(f"{kind}({name}={values}): the first of a pair must not be larger than the second")


def _check_mark(kind: str, missing: int | Sequence[int]) -> None:
    values = np.ravel(missing)
    if not len(values) or np.any((values < 0) | (values > 255) | (values != np.rint(values))):
        raise UserError(f"{kind}(missing={missing}): give a whole number in 0..255, or one a channel")
