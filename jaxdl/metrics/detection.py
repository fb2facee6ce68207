"""Average precision of boxes, as COCO defines it, computed by pycocotools."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.errors import UserError, from_extra

STATISTICS = ("map", "map50", "map75")  # the first of what COCOeval sums up, over boxes of all sizes


def average_precision(records: Mapping[str, np.ndarray], classes: int) -> dict[str, float]:
    """Mean average precision over classes that occur, up to 100 boxes an image.

    Args:
      records: truth, `boxes` [images, objects, 4] (top, left, bottom, right), `box_label` and `box_weight` [images,
        objects] (0: no box), and `box_crowd` where there are crowd regions; found, `predicted_boxes` [images, k, 4],
        `predicted_labels` and `predicted_scores` [images, k] (score 0: no box).
      classes: how many there are.

    Returns:
      `map` (IoU 0.50 to 0.95 in steps of 0.05), `map50`, `map75`, all in [0, 1].

    Raises:
      UserError: there is no true box at all, or a class id that does not exist.
    """
    return dict(zip(STATISTICS, map(float, _evaluated(records, classes).stats)))


def class_precision(records: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    """Average precision at IoU 0.5 of every class, [classes]; NaN for a class without a true box."""
    precision = _evaluated(records, classes).eval["precision"][0, :, :, 0, -1]  # [recall, classes]
    return np.where(np.all(precision < 0, axis=0), np.nan, precision.mean(axis=0))


def _evaluated(records: Mapping[str, np.ndarray], classes: int) -> Any:
    with from_extra("detection", "Average precision of boxes"):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    truth: Any = COCO()
    truth.dataset = _truth(records, classes)
    found = _found(records)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        result: Any = truth.loadRes(found) if len(found) else COCO()
        if not len(found):
            result.dataset = {**truth.dataset, "annotations": []}
            result.createIndex()
        evaluation = COCOeval(truth, result, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _truth(records: Mapping[str, np.ndarray], classes: int) -> dict[str, Any]:
    weight = np.asarray(records["box_weight"])
    crowd = np.asarray(records.get("box_crowd", np.zeros_like(weight)))
    image, slot = np.nonzero((weight > 0) | (crowd > 0))
    if not len(image):
        raise UserError("average precision needs true boxes, and the examples have none: is it the right split?")
    labels = np.asarray(records["box_label"])[image, slot]
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"box_label has values from {labels.min()} to {labels.max()}, num_classes is {classes}")
    boxes = _corner_and_size(np.asarray(records["boxes"])[image, slot])
    annotations = [
        {
            "id": number + 1,
            "image_id": int(image[number]),
            "category_id": int(labels[number]),
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": int(crowd[image[number], slot[number]] > 0),
        }
        for number, box in enumerate(boxes)
    ]
    return {
        "info": {},
        "images": [{"id": number} for number in range(len(weight))],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": annotations,
    }


def _found(records: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of (image, x, y, width, height, score, class), which pycocotools takes as they are."""
    scores = np.asarray(records["predicted_scores"])
    image, slot = np.nonzero(scores > 0)
    boxes = _corner_and_size(np.asarray(records["predicted_boxes"])[image, slot])
    labels = np.asarray(records["predicted_labels"])[image, slot]
    return np.column_stack([image, boxes, scores[image, slot], labels]).astype(np.float64).reshape(-1, 7)


def _corner_and_size(boxes: np.ndarray) -> np.ndarray:
    """(top, left, bottom, right) -> COCO's (x, y, width, height), float64."""
    top, left, bottom, right = boxes.astype(np.float64).reshape(-1, 4).T
    return np.stack([left, top, right - left, bottom - top], axis=1)
