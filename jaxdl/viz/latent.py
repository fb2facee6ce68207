"""Pictures of latents: reconstructions, samples, ways from one image to another, one latent at a time, a map of two.

Images are uint8 [..., height, width, 1 or 3].
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdl.viz.figure import FAINT, INK, new_figure, pixel_axes, render, show_image

# Sizes in pixels: small images are enlarged to about `_CELL`; the letters of names; the lines above and below.
_CELL, _LETTER, _LINE = 56, 7, 24
_COLUMNS = 12


def image_table(
    images: np.ndarray,
    title: str,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    gap: int = 2,
) -> np.ndarray:
    """A table of images under a title, uint8 [height, width, 3].

    Args:
      images: [rows, columns, height, width, 1 or 3].
      rows: names at the left, one a row; none: no names.
      columns: names below, one a column; "" leaves one out.
      gap: between images, in pixels of the images.

    Raises:
      ValueError: no images, or another number of axes.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.size == 0:
        raise ValueError(
            f"image_table: images have shape {list(images.shape)}, not [rows, columns, height, width, 1|3]"
        )
    count, across, height, width, channels = images.shape
    tiles = np.full((count, across, height + gap, width + gap, channels), 255, images.dtype)
    tiles[:, :, :height, :width] = images
    canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(count * (height + gap), across * (width + gap), channels)
    scale = max(1, round(_CELL / max(height, width)))
    left = 8 + _LETTER * max((len(name) for name in rows), default=0)
    box = (canvas.shape[1] * scale, canvas.shape[0] * scale)
    total = max(left + box[0] + 8, 16 + _LETTER * len(title))
    figure = new_figure(total, _LINE + 8 + box[1] + (_LINE if columns else 0))
    axes = pixel_axes(figure)
    axes.text(8, _LINE / 2 + 2, title, va="center", fontsize=10, color=INK, parse_math=False)
    show_image(axes, canvas, left, _LINE + 4, *box)
    for row, name in enumerate(rows[:count]):
        y = _LINE + 4 + scale * (row * (height + gap) + height / 2)
        axes.text(left - 6, y, name, ha="right", va="center", fontsize=8.5, color=FAINT, parse_math=False)
    for column, name in enumerate(columns[:across]):
        x, y = left + scale * (column * (width + gap) + width / 2), _LINE + 8 + box[1]
        axes.text(x, y, name, ha="center", va="top", fontsize=8.5, color=FAINT, parse_math=False)
    return render(figure)


def rows_of_images(named: Mapping[str, np.ndarray], title: str = "Reconstructions") -> np.ndarray:
    """A row a name, of images [n, height, width, 1 or 3]; the first 12 of each."""
    images = np.stack([np.asarray(each)[:_COLUMNS] for each in named.values()])
    return image_table(images, title, rows=list(named))


def samples(images: np.ndarray) -> np.ndarray:
    """Images [n, height, width, 1 or 3] drawn from the prior, about twice as wide as high; black fills up."""
    columns = max(1, math.ceil(math.sqrt(1.5 * len(images))))
    rows = math.ceil(len(images) / columns)
    filled = np.zeros((rows * columns, *images.shape[1:]), images.dtype)
    filled[: len(images)] = images
    return image_table(filled.reshape(rows, columns, *images.shape[1:]), "Samples from the prior")


def interpolations(images: np.ndarray) -> np.ndarray:
    """Images [n, steps, height, width, 1 or 3] from one example's latents to the next one's; the first 8."""
    return image_table(images[:8], "From one image to another, in equal steps of the latents")


def traversals(images: np.ndarray, reach: float) -> np.ndarray:
    """Images [n, steps, height, width, 1 or 3]: in each row one latent goes from -reach to reach; the first 12."""
    steps = [f"{value:+.1f}" for value in np.linspace(-reach, reach, images.shape[1])]
    names = [f"{number}." for number in range(1, min(12, len(images)) + 1)]
    title = "One latent at a time, in standard deviations; those that say most first"
    return image_table(images[:12], title, rows=names, columns=steps)


def latent_map(images: np.ndarray, reach: float) -> np.ndarray:
    """Images [rows, columns, height, width, 1 or 3]: two latents on a grid over -reach to reach, the others 0."""
    steps = [f"{value:+.1f}" for value in np.linspace(-reach, reach, images.shape[1])]
    sparse = [step if index % 5 == 0 else "" for index, step in enumerate(steps)]
    title = "The two latents that say most: the first from left to right, the second from top to bottom"
    return image_table(images, title, rows=sparse[: len(images)], columns=sparse, gap=0)
