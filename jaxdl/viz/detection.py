"""Pictures of object detection: images with true and predicted boxes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import COLORS, FAINT, INK, class_names, new_figure, pixel_axes, render, show_image
from jaxdl.viz.presentation import Presentation, valid_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sizes in pixels: the longer side of an image in a grid and of a single image, the gap between images, the legend; then
# the columns and images of a grid.
_TILE, _ALONE, _GAP, _LEGEND, _COLUMNS, _SHOWN = 270, 900, 10, 30, 4, 12
# Smallest score of drawn boxes; predictions contain many boxes of lower scores.
MIN_SCORE = 0.5


def detection_grid(records: Mapping[str, np.ndarray], names: Sequence[str], min_score: float = MIN_SCORE) -> np.ndarray:
    """Draws images with dashed true boxes, and predicted boxes with class name and score.

    Args:
      records: `image` uint8 [n, height, width, 1 or 3]; for labelled images `boxes` [n, objects, 4] (top, left, bottom,
        right) in pixels and `box_weight` [n, objects]; predictions `predicted_boxes` [n, k, 4], `predicted_labels` and
        `predicted_scores` [n, k]. The first 12 are drawn.
      names: Class names.
      min_score: Smallest score of drawn boxes.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: No images.
    """
    images = records["image"][:_SHOWN]
    if not len(images):
        raise ValueError("detection_grid: no images to draw")
    height, width = images.shape[1:3]
    scale = _TILE / max(height, width)
    columns = min(len(images), _COLUMNS)
    across, down = round(width * scale) + _GAP, round(height * scale) + _GAP
    rows = math.ceil(len(images) / columns)
    figure = new_figure(columns * across + _GAP, rows * down + _GAP + _LEGEND)
    axes = pixel_axes(figure)
    for index, image in enumerate(images):
        left, top = _GAP + index % columns * across, _GAP + index // columns * down
        show_image(axes, image, left, top, width * scale, height * scale)
        if "boxes" in records:
            present = records["boxes"][index][records["box_weight"][index] > 0]
            for box in present:
                _box(axes, box * scale, left, top, "white", dashed=True)
        predicted = {name: records[f"predicted_{name}"][index] for name in ("boxes", "labels", "scores")}
        _draw_predicted(axes, predicted, names, min_score, scale, left, top)
    text = f"solid: predicted with a score of at least {min_score:g}" + ("; dashed: true" if "boxes" in records else "")
    axes.text(_GAP, rows * down + _GAP + _LEGEND / 2, text, va="center", fontsize=10, color=FAINT, parse_math=False)
    return render(figure)


def detection_picture(
    image: np.ndarray, predicted: Mapping[str, Any], names: Sequence[str], min_score: float = MIN_SCORE
) -> np.ndarray:
    """Draws one image with its predicted boxes; its longer side is 900 pixels.

    Args:
      image: uint8 [height, width, 1 or 3].
      predicted: `boxes` [k, 4] in pixels of the image, `labels` and `scores` [k].
      names: Class names.
      min_score: Smallest score of drawn boxes.

    Returns:
      uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    scale = _ALONE / max(height, width)
    figure = new_figure(round(width * scale), round(height * scale))
    axes = pixel_axes(figure)
    show_image(axes, image, 0, 0, width * scale, height * scale)
    _draw_predicted(axes, predicted, names, min_score, scale, 0, 0)
    return render(figure)


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
        text = f"{names[label]} {scores[index]:.2f}"
        x, y = left + box[1] + 1.5, top + max(box[0], 11)
        axes.text(x, y, text, fontsize=7.5, color="white", va="bottom", bbox=style, parse_math=False)


def _box(axes: "Axes", box: np.ndarray, left: float, top: float, color: str, dashed: bool = False) -> None:
    from matplotlib.patches import Rectangle

    corner, size = (left + box[1], top + box[0]), (box[3] - box[1], box[2] - box[0])
    if dashed:  # white is not visible on a light background
        axes.add_patch(Rectangle(corner, size[0], size[1], fill=False, edgecolor=INK, linewidth=1.6))
    style: dict[str, Any] = {"linestyle": (0, (3, 2)), "linewidth": 1.2} if dashed else {"linewidth": 1.8}
    axes.add_patch(Rectangle(corner, size[0], size[1], fill=False, edgecolor=color, **style))


class DetectionPresentation(Presentation):
    """Presentation of object detection."""

    framing = "pad"

    def pictures(
        self,
        batch: Mapping[str, Any],
        outputs: Mapping[str, Any],
        metrics: Mapping[str, Any],
        names: Mapping[str, Sequence[str]],
    ) -> dict[str, np.ndarray]:
        """Returns `detections`, up to 12 images with dashed true boxes and solid predicted boxes."""
        rows = valid_rows(batch, _SHOWN)
        predictions = {f"predicted_{name}": value for name, value in outputs.items()}
        records = {name: np.asarray(value)[rows] for name, value in {**batch, **predictions}.items()}
        return {"detections": detection_grid(records, names.get("box_label", ()))}

    def picture(
        self, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Mapping[str, Sequence[str]]
    ) -> np.ndarray:
        """Returns the image with the predicted boxes."""
        return detection_picture(np.asarray(example["image"]), outputs, names.get("box_label", ()))
