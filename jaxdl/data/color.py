"""Colour: transforms that change the values of pixels and move none, uint8 in and uint8 out."""

from dataclasses import dataclass

import numpy as np

from jaxdl.data.draws import Draws
from jaxdl.data.source import Batch
from jaxdl.errors import UserError

_LUMA = np.array([299, 587, 114])  # thousandths, of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class ColorJitter:
    """Changes brightness, contrast and saturation of each image by random factors, in this order.

    A factor is drawn from [1 - strength, 1 + strength]. Brightness scales all values; contrast scales them about the
    mean grey of the image; saturation scales them about the grey of the pixel, and does nothing to grey images. Values
    are rounded and cut to 0..255 once, at the end (Krizhevsky et al., 2012; Howard, 2013, arXiv:1312.5402).

    Attributes:
      brightness, contrast, saturation: strengths, 0 (off) to 1.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"ColorJitter.{name} must be from 0 to 1, not {getattr(self, name)}")

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        image = batch["image"]
        if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
            raise UserError(
                f"ColorJitter takes uint8 images of 1 or 3 channels, not {image.dtype} of {image.shape[-1]}; put it "
                "before what changes their type"
            )
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = (1 + strength * (2 * draws.uniform() - 1) for strength in strengths)
        bright, contrast, saturation = (factor.astype(np.float32)[:, None, None, None] for factor in factors)
        # Whole numbers, so that the mean does not depend on the order of the sum.
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
    """Turns the colours of each image about the grey axis of the RGB cube; greys stay as they are.

    Attributes:
      degrees: by up to this angle, either way; 180 makes all hues equally likely.
    """

    degrees: float = 180.0

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        image = batch["image"]
        if image.dtype != np.uint8 or image.shape[-1] != 3:
            raise UserError(f"RandomHue takes uint8 images of 3 channels, not {image.dtype} of {image.shape[-1]}")
        angle = np.deg2rad(draws.between(-self.degrees, self.degrees)).astype(np.float32)
        # Rodrigues' formula for the axis (1, 1, 1) / sqrt(3): every row of the matrix is the first one, turned on.
        even, odd = (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(np.float32(3))
        row = [each[:, None, None] for each in (np.cos(angle) + even, even - odd, even + odd)]
        values = [image[..., channel].astype(np.float32) for channel in range(3)]
        turned = [sum(row[(source - channel) % 3] * values[source] for source in range(3)) for channel in range(3)]
        return batch | {"image": np.clip(np.rint(np.stack(turned, axis=-1)), 0, 255).astype(np.uint8)}
