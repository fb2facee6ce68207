"""Pictures of image translation: a table of images, one example per row."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jaxdl.viz.figure import Picture, image_grid, render, shorten, show_image, write
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

_GAP, _TITLE = 6, 22  # pixels
_SHOWN = 12  # examples in a table


def image_table(columns: Mapping[str, np.ndarray], size: int = 80) -> Picture:
    """Draws columns of images with titles.

    Args:
      columns: Title -> [rows, height, width, 1 or 3], uint8, or float in [0, 1]; equal numbers of rows.
      size: Side of an image's box in pixels.

    Raises:
      ValueError: No columns, no rows, or unequal numbers of rows.
    """
    counts = {len(images) for images in columns.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"image_table: columns have {sorted(counts)} rows; they need equal numbers, at least 1")
    across = len(columns)
    axes, corners = image_grid(across * counts.pop(), across, size, size, _GAP, head=_TITLE - _GAP)
    for number, (left, top) in enumerate(corners):
        title = list(columns)[number % across]
        if number < across:
            write(axes, shorten(title, size // 6), left + size / 2, _TITLE / 2, 8, align="center")
        show_image(axes, columns[title][number // across], left, top, size, size)
    return render(axes)


@dataclass(frozen=True)
class ImageTranslationPresentation(Presentation):
    """Presentation of image translation.

    Attributes:
      direction: Translation that `picture` shows, "ab" or "ba".
    """

    direction: str

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `translations`: images, their translations, the true images, and the translations back."""
        a, b = names.get("style", ("A", "B"))
        valid = valid_rows(batch)
        # Spread over the batch, because neighbouring examples are often similar.
        rows = valid[np.linspace(0, len(valid) - 1, min(_SHOWN, len(valid))).astype(int)]
        columns = {}
        for direction, source, target in (("ab", a, b), ("ba", b, a)):
            first, second = direction
            columns[source], columns[f"fake {target}"] = batch[f"image_{first}"], outputs[direction]
            columns[f"true {target}"] = batch[f"image_{second}"]
            columns[f"back to {source}"] = outputs[direction + first]
        return {"translations": image_table(take(columns, rows))}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the input image beside its translation."""
        styles = dict(zip("ab", names.get("style", ("A", "B"))))
        source, target = self.direction
        images = {"input": example[f"image_{source}"], f"as {styles[target]}": outputs[self.direction]}
        return image_table({title: np.asarray(image)[None] for title, image in images.items()}, size=224)
