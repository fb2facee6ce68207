"""Pictures of object detection: images with true and predicted boxes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import (
    COLORS,
    FAINT,
    INK,
    Picture,
    class_names,
    draw_frame,
    image_grid,
    pixel_axes,
    render,
    show_image,
    write,
)
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in pixels: the longer side of an image in a grid and of a single image, the gap between images, the legend; then
# the columns and images of a grid.
_TILE, _ALONE, _GAP, _LEGEND, _COLUMNS, _SHOWN = 270, 900, 10, 30, 4, 12
# Smallest score of drawn boxes; predictions contain many boxes of lower scores.
MIN_SCORE = 0.5


def detection_grid(records: Mapping[str, np.ndarray], names: Sequence[str], min_score: float = MIN_SCORE) -> Picture:
    """Draws images with dashed true boxes, and predicted boxes with class name and score.

    Args:
      records: `image` uint8 [n, height, width, 1 or 3]; for labelled images `boxes` [n, objects, 4] (top, left, bottom,
        right) in pixels and `box_weight` [n, objects]; predictions `predicted_boxes` [n, k, 4], `predicted_labels` and
        `predicted_scores` [n, k]. The first 12 are drawn.
      min_score: Smallest score of drawn boxes.
    """
    images = records["image"][:_SHOWN]
    scale = _TILE / max(images.shape[1:3])
    height, width = (side * scale for side in images.shape[1:3])
    axes, corners = image_grid(len(images), _COLUMNS, width, height, _GAP, foot=_LEGEND)
    for index, (left, top) in enumerate(corners):
        show_image(axes, images[index], left, top, width, height)
        if "boxes" in records:
            for box in records["boxes"][index][records["box_weight"][index] > 0]:
                _box(axes, box * scale, left, top, "white", dashed=True)
        predicted = {name: records[f"predicted_{name}"][index] for name in ("boxes", "labels", "scores")}
        _draw_predicted(axes, predicted, names, min_score, scale, left, top)
    text = f"solid: predicted with a score of at least {min_score:g}" + ("; dashed: true" if "boxes" in records else "")
    write(axes, text, _GAP, axes.get_ylim()[0] - _LEGEND / 2, 10, FAINT)
    return render(axes)


def detection_picture(
    image: np.ndarray, predicted: Mapping[str, Any], names: Sequence[str], min_score: float = MIN_SCORE
) -> Picture:
    """Draws one image with its predicted boxes; its longer side is 900 pixels.

    Args:
      image: uint8 [height, width, 1 or 3].
      predicted: `boxes` [k, 4] in pixels of the image, `labels` and `scores` [k].
      names, min_score: As in `detection_grid`.
    """
    height, width = image.shape[:2]
    scale = _ALONE / max(height, width)
    axes = pixel_axes(round(width * scale), round(height * scale))
    show_image(axes, image, 0, 0, width * scale, height * scale)
    _draw_predicted(axes, predicted, names, min_score, scale, 0, 0)
    return render(axes)


def _draw_predicted(
    axes: "Axes",
    predicted: Mapping[str, Any],
    names: Sequence[str],
    min_score: float,
    scale: float,
    left: float,
    top: float,
) -> None:
    scores, labels = np.asarray(predicted["scores"]), np.asarray(predicted["labels"])
    names = class_names(names, max(len(names), int(labels.max(initial=0)) + 1))
    for index in np.flatnonzero(scores >= min_score)[::-1]:  # the highest score on top
        label = int(labels[index])
        color = COLORS[label % len(COLORS)]
        box = np.asarray(predicted["boxes"])[index] * scale
        _box(axes, box, left, top, color)
        style = {"facecolor": color, "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
        x, y = left + box[1] + 1.5, top + max(box[0], 11)
        write(axes, f"{names[label]} {scores[index]:.2f}", x, y, 7.5, "white", vertical="bottom", bbox=style)


def _box(axes: "Axes", box: np.ndarray, left: float, top: float, color: str, dashed: bool = False) -> None:
    place = (left + box[1], top + box[0], box[3] - box[1], box[2] - box[0])
    if dashed:  # white is not visible on a light background
        draw_frame(axes, *place, INK, 1.6)
        draw_frame(axes, *place, color, 1.2, linestyle=(0, (3, 2)))
    else:
        draw_frame(axes, *place, color, 1.8)


class DetectionPresentation(Presentation):
    """Presentation of object detection."""

    framing = "pad"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `detections`, up to 12 images with dashed true boxes and solid predicted boxes."""
        predictions = {f"predicted_{name}": value for name, value in outputs.items()}
        records = take({**batch, **predictions}, valid_rows(batch, _SHOWN))
        return {"detections": detection_grid(records, names.get("box_label", ()))}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the image with the predicted boxes."""
        return detection_picture(np.asarray(example["image"]), outputs, names.get("box_label", ()))
