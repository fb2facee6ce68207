"""Image files of any kind as uint8 arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxdl.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """The files among `paths`, and the image files in the folders among them, at any depth, sorted within a folder.

    Raises:
      UserError: a path does not exist, or there is no image at all.
    """
    paths = [Path(path).expanduser() for path in paths]
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist; give image files, or folders of them")
    if not found:
        where = ", ".join(map(str, paths)) or "an empty list"
        raise UserError(f"no image found in {where}; looked for files that end in {', '.join(sorted(SUFFIXES))}")
    return found


def read_images(paths: Sequence[str | Path], shape: tuple[int, int, int]) -> np.ndarray:
    """Images from files, brought to one shape.

    Args:
      paths: files, as `find_images` lists them.
      shape: (height, width, channels): 1 grey, 3 RGB, 4 RGB and alpha. An image of another size is cut at its centre
        to the aspect of `shape` and resized with antialiasing. Alpha, where not asked for, is laid over white.

    Returns:
      uint8 [images, height, width, channels].

    Raises:
      UserError: a file is missing, cut short or no image; it is named.
    """
    height, width, channels = shape
    images = np.empty((len(paths), height, width, channels), np.uint8)
    for number, path in enumerate(paths):
        images[number] = to_array(fit(decode(path, channels), height, width))
    return images


class Framed(NamedTuple):
    """An image brought to the shape that a model takes.

    Attributes:
      image: uint8 [height, width, channels].
      file: the file's image at its own size, uint8 [height, width, channels].
      scale: pixels of `image` for a pixel of the file, down and sideways.
      offset: where the file's upper left corner lies in `image`, (down, sideways) in pixels; negative: cut off.
    """

    image: np.ndarray
    file: np.ndarray
    scale: tuple[float, float]
    offset: tuple[float, float]

    def boxes_of_file(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [n, 4], (top, left, bottom, right) in pixels of `image`, in pixels of the file."""
        moved = (boxes - np.tile(self.offset, 2)) / np.tile(self.scale, 2)
        return np.clip(moved, 0, np.tile(self.file.shape[:2], 2)).astype(np.float32)

    def map_of_file(self, values: np.ndarray) -> np.ndarray:
        """A value for each pixel of `image`, [height, width], as one for each pixel of the file, the nearest."""
        near = [
            np.clip(((np.arange(side) + 0.5) * scale + offset).astype(int), 0, whole - 1)
            for side, scale, offset, whole in zip(self.file.shape, self.scale, self.offset, values.shape)
        ]
        return values[near[0][:, None], near[1]]


FRAMINGS = ("crop", "pad", "keep")
_MULTIPLE = 32  # of which the sides of an image that keeps its size are made


def frame(path: str | Path, shape: tuple[int, int, int], framing: str) -> Framed:
    """One image file for a model that was trained on images of `shape` (height, width, channels).

    Args:
      framing: "crop": the largest centred part of the right aspect, resized; "pad": all of it, resized, with black at
        the bottom or the right side; "keep": at its own size, with black up to sides that are multiples of 32.

    Raises:
      UserError: as `decode`.
    """
    height, width, channels = shape
    image = decode(path, channels)
    columns, rows = image.size
    if framing == "crop":
        scale = max(height / rows, width / columns)
        offset = ((height - rows * scale) / 2, (width - columns * scale) / 2)
        return Framed(to_array(fit(image, height, width)), to_array(image), (scale, scale), offset)
    if framing == "keep":
        height, width = -(-rows // _MULTIPLE) * _MULTIPLE, -(-columns // _MULTIPLE) * _MULTIPLE
        inner = (rows, columns)
    else:
        scale = min(height / rows, width / columns)
        inner = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    array = np.zeros((height, width, channels), np.uint8)
    array[: inner[0], : inner[1]] = to_array(fit(image, *inner))
    return Framed(array, to_array(image), (inner[0] / rows, inner[1] / columns), (0.0, 0.0))


def decode(path: str | Path, channels: int) -> Image.Image:
    """One image file, upright, 8 bits a channel, mode L, RGB or RGBA.

    Raises:
      UserError: the file is missing, cut short or no image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if channels not in _MODES:
        raise UserError(f"images have 1, 3 or 4 channels, not {channels}")
    try:
        with Image.open(path) as image:
            image.load()
            return convert(ImageOps.exif_transpose(image), channels)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is no image, or of a kind that is not known") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what PIL raises on damaged files
        raise UserError(f"{path} cannot be read as an image ({error}); is it complete?") from error


def convert(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode L, RGB or RGBA; 16-bit grey values keep their upper 8 bits, alpha is laid over white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        top = values.max(initial=0)
        # Mode I holds 16-bit files too, which is all that PNG can put into it.
        scale = 255 / 65535 if image.mode.startswith("I;16") or top > 255 else 1.0
        image = Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA" and channels != 4:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != _MODES[channels]:
        image = image.convert("RGB").convert(_MODES[channels])
    return image


def fit(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest centred part of the right aspect, resized with antialiasing; an image of that size as it is."""
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def to_array(image: Image.Image) -> np.ndarray:
    """uint8 [height, width, channels]."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array
