"""Pictures of generated images: samples by class, beside real ones, and on the way from one latent to another."""

import math
from collections.abc import Sequence

import numpy as np

from jaxdl.viz.figure import FAINT, INK, class_names, new_figure, pixel_axes, render, shorten, show_image

# Sizes in pixels: of an image's box, of the gap around it, of a heading, and of the names on the left.
_BOX, _GAP, _HEAD, _SIDE = 84, 4, 26, 110
_COLUMNS, _SHOWN = 8, 24


def sample_grid(
    images: np.ndarray, labels: Sequence[int] | np.ndarray | None = None, names: Sequence[str] | None = None
) -> np.ndarray:
    """Images in reading order, eight to a row; with labels a row a class, with its name on the left.

    Args:
      images: [n, height, width, 1 or 3], uint8, or float in [0, 1].
      labels: [n] classes, or None.
      names: of the classes; a class without a name is shown by its number.

    Returns:
      uint8 [height, width, 3]; of a class at most eight images.

    Raises:
      ValueError: no images.
    """
    return _draw([("", rows_of(images, labels, names))])


def real_and_generated(
    real: np.ndarray,
    generated: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Generated images below real ones, or for labelled ones beside them, a row a class; at most 24 of each.

    Args:
      real, generated: [n, height, width, 1 or 3], uint8, or float in [0, 1].
      labels: [n] of both, or None.
      names: of the classes.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: no images.
    """
    given = None if labels is None else labels[:_SHOWN]
    parts = [("real", real), ("generated", generated)]
    return _draw([(title, rows_of(images[:_SHOWN], given, names)) for title, images in parts])


def path_grid(paths: np.ndarray, rows: int = 8) -> np.ndarray:
    """Each row the images on the way from one latent to another.

    Args:
      paths: [n, steps, height, width, 1 or 3], uint8, or float in [0, 1]; the first `rows` are drawn.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: no images.
    """
    return _draw([("", [("", path) for path in paths[:rows]])])


def rows_of(
    images: np.ndarray, labels: Sequence[int] | np.ndarray | None, names: Sequence[str] | None
) -> list[tuple[str, np.ndarray]]:
    """(name, images) of each row: the classes in their order, or eight images a row."""
    if labels is None:
        return [("", images[start : start + _COLUMNS]) for start in range(0, len(images), _COLUMNS)]
    labels = np.asarray(labels)
    known = class_names(names or [], max(len(names or []), int(labels.max(initial=0)) + 1))
    return [(known[label], images[labels == label][:_COLUMNS]) for label in np.unique(labels)]


def _draw(parts: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> np.ndarray:
    """Blocks of rows under their titles, one above the other."""
    rows = [row for _, block in parts for row in block]
    if not any(len(images) for _, images in rows):
        raise ValueError("there are no images to draw")
    columns = max(len(images) for _, images in rows)
    height, width = rows[0][1].shape[1:3]
    scale = max(1, math.ceil(_BOX / max(height, width)))
    across, down = scale * width + _GAP, scale * height + _GAP
    side = _SIDE if any(name for name, _ in rows) else _GAP
    heads = sum(_HEAD for title, _ in parts if title)
    figure = new_figure(side + columns * across, heads + len(rows) * down + _GAP)
    axes = pixel_axes(figure)
    top = _GAP
    for title, block in parts:
        if title:
            axes.text(side, top + _HEAD / 2, title, ha="left", va="center", fontsize=10, color=FAINT)
            top += _HEAD
        for name, images in block:
            label = {"ha": "right", "va": "center", "fontsize": 9, "color": INK, "parse_math": False}
            axes.text(side - 6, top + (down - _GAP) / 2, shorten(name, 15), **label)
            for column, image in enumerate(images):
                show_image(axes, image, side + column * across, top, across - _GAP, down - _GAP)
            top += down
    return render(figure)
