"""Pictures of an image translation: images side by side, a row an example."""

from collections.abc import Mapping

import numpy as np

from jaxdl.viz.figure import INK, new_figure, pixel_axes, render, shorten, show_image

_GAP, _TITLE = 6, 22  # pixels


def image_table(columns: Mapping[str, np.ndarray], size: int = 80) -> np.ndarray:
    """Images in columns with a title each, in the order given.

    Args:
      columns: title -> [rows, height, width, 1 or 3], uint8, or float in [0, 1]; as many rows in each.
      size: of an image's box in pixels.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: no columns, no rows, or another number of rows.
    """
    counts = {len(images) for images in columns.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"image_table: columns have {sorted(counts)} rows; give one or more, as many in each")
    (rows,) = counts
    step = size + _GAP
    figure = new_figure(_GAP + len(columns) * step, _TITLE + rows * step)
    axes = pixel_axes(figure)
    for column, (title, images) in enumerate(columns.items()):
        left = _GAP + column * step
        text = shorten(title, size // 6)
        axes.text(left + size / 2, _TITLE / 2, text, ha="center", va="center", fontsize=8, color=INK, parse_math=False)
        for row in range(rows):
            show_image(axes, images[row], left, _TITLE + row * step, size, size)
    return render(figure)
