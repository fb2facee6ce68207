"""COCO average precision of boxes, computed by pycocotools."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.errors import UserError, from_extra

STATISTICS = ("map", "map50", "map75")  # the first entries of COCOeval.stats, over boxes of all sizes


def average_precision(records: Mapping[str, np.ndarray], classes: int) -> dict[str, float]:
    """Computes COCO mean average precision, with up to 100 boxes per image.

    Args:
      records: Ground truth: `boxes` [images, objects, 4] (top, left, bottom, right), `box_label` and `box_weight`
        [images, objects] (weight 0 for padding), and optionally `box_crowd`. Predictions: `predicted_boxes` [images, k,
        4], `predicted_labels` and `predicted_scores` [images, k] (score 0 for padding).
      classes: Number of classes.

    Returns:
      `map` (mean over IoU 0.50 to 0.95 in steps of 0.05), `map50` and `map75`, in [0, 1].

    Raises:
      UserError: There is no ground-truth box, or a class id is out of range.
    """
    with from_extra("detection", "Average precision of boxes"):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    truth: Any = COCO()
    truth.dataset = _truth(records, classes)
    predictions = _predictions(records)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        result: Any = truth.loadRes(predictions) if len(predictions) else COCO()
        if not len(predictions):
            result.dataset = {**truth.dataset, "annotations": []}
            result.createIndex()
        evaluation = COCOeval(truth, result, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATISTICS, map(float, evaluation.stats)))


def _truth(records: Mapping[str, np.ndarray], classes: int) -> dict[str, Any]:
    weight = np.asarray(records["box_weight"])
    crowd = np.asarray(records.get("box_crowd", np.zeros_like(weight)))
    image, slot = np.nonzero((weight > 0) | (crowd > 0))
    if not len(image):
        raise UserError("average precision needs ground-truth boxes, but the examples have none; check the split")
    labels = np.asarray(records["box_label"])[image, slot]
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"box_label has values from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}; set num_classes"
        )
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


def _predictions(records: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns rows (image, x, y, width, height, score, class), a format of pycocotools."""
    scores = np.asarray(records["predicted_scores"])
    image, slot = np.nonzero(scores > 0)
    boxes = _corner_and_size(np.asarray(records["predicted_boxes"])[image, slot])
    labels = np.asarray(records["predicted_labels"])[image, slot]
    return np.column_stack([image, boxes, scores[image, slot], labels]).astype(np.float64).reshape(-1, 7)


def _corner_and_size(boxes: np.ndarray) -> np.ndarray:
    """Converts (top, left, bottom, right) to COCO's (x, y, width, height), float64."""
    top, left, bottom, right = boxes.astype(np.float64).reshape(-1, 4).T
    return np.stack([left, top, right - left, bottom - top], axis=1)
