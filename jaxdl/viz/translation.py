"""Pictures of image translation: a table of images, one example per row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.viz.figure import INK, new_figure, pixel_axes, render, shorten, show_image
from jaxdl.viz.presentation import Presentation, valid_rows

_GAP, _TITLE = 6, 22  # pixels
_SHOWN = 12  # examples in a table


def image_table(columns: Mapping[str, np.ndarray], size: int = 80) -> np.ndarray:
    """Draws columns of images with titles.

    Args:
      columns: Title -> [rows, height, width, 1 or 3], uint8, or float in [0, 1]; equal numbers of rows.
      size: Side of an image's box in pixels.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: No columns, no rows, or unequal numbers of rows.
    """
    counts = {len(images) for images in columns.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"image_table: columns have {sorted(counts)} rows; they need equal numbers, at least 1")
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


@dataclass(frozen=True)
class ImageTranslationPresentation(Presentation):
    """Presentation of image translation.

    Attributes:
      direction: Translation that `picture` shows, "ab" or "ba".
    """

    direction: str

    def pictures(
        self,
        batch: Mapping[str, Any],
        outputs: Mapping[str, Any],
        metrics: Mapping[str, Any],
        names: Mapping[str, Sequence[str]],
    ) -> dict[str, np.ndarray]:
        """Returns `translations`: images, their translations, the true images, and the translations back."""
        a, b = names.get("style", ("A", "B"))
        valid = valid_rows(batch)
        # Spread over the batch, because neighbouring examples are often similar.
        rows = valid[np.linspace(0, len(valid) - 1, min(_SHOWN, len(valid))).astype(int)]
        columns = {}
        for image, fake, true, back, source, target in (
            ("image_a", "ab", "image_b", "aba", a, b),
            ("image_b", "ba", "image_a", "bab", b, a),
        ):
            columns[source] = batch[image]
            columns[f"fake {target}"] = outputs[fake]
            columns[f"true {target}"] = batch[true]
            columns[f"back to {source}"] = outputs[back]
        return {"translations": image_table({title: np.asarray(images)[rows] for title, images in columns.items()})}

    def picture(
        self, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
    ) -> np.ndarray:
        """Returns the input image beside its translation."""
        styles = dict(zip("ab", names.get("style", ("A", "B"))))
        source, target = self.direction
        images = {"input": example[f"image_{source}"], f"as {styles[target]}": outputs[self.direction]}
        return image_table({title: np.asarray(image)[None] for title, image in images.items()}, size=224)
