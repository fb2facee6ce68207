"""Videos from files: animations, folders of images, and arrays."""

from pathlib import Path

import numpy as np

from jaxdl.data.files import check_file
from jaxdl.data.image.files import convert, find_images, fit, read_images, to_array
from jaxdl.errors import UserError
from jaxdl.remote import local

_MODES = {1: "L", 3: "RGB"}


def read_video(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Reads the frames of a video in one shape.

    Frames of another size are center-cropped to the aspect and resized with antialiasing.

    Args:
      path: Animation (GIF, PNG or WebP), folder of images in the order of their names, or NumPy array in a .npy file,
        uint8 [frames, height, width] or [frames, height, width, 1 or 3].
      shape: (height, width, channels) with 1 (grey) or 3 (RGB) channels.

    Returns:
      uint8 [frames, height, width, channels].

    Raises:
      UserError: The path does not exist, is not a video, or is an array of another type.
    """
    path = local(path)
    if path.is_dir():
        return read_images(find_images([path]), shape)
    check_file(path)
    return _from_array(path, shape) if path.suffix.lower() == ".npy" else _from_animation(path, shape)


def _from_array(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}); write it with numpy.save") from None
    array = array[..., None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] not in _MODES or 0 in array.shape:
        raise UserError(
            f"{path} is {array.dtype}{list(array.shape)}; pass uint8 [frames, height, width] or [..., 1 or 3]"
        )
    height, width, channels = shape
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in array]
    return np.stack([to_array(fit(convert(image, channels), height, width)) for image in images])


def _from_animation(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image, ImageSequence, UnidentifiedImageError

    height, width, channels = shape
    try:
        with Image.open(path) as file:
            frames = [
                to_array(fit(convert(frame.copy(), channels), height, width)) for frame in ImageSequence.Iterator(file)
            ]
    except UnidentifiedImageError:
        raise UserError(
            f"{path} is not a video; pass a GIF, a folder of images, or frames in a .npy file (ffmpeg converts others)"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # raised by PIL on damaged files
        raise UserError(f"{path} cannot be read as a video ({error}); check that it is complete") from error
    return np.stack(frames)
