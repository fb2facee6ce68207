"""Segmentation metrics: class IoU and Dice, and instance matching. Only needs numpy.

A confusion matrix [classes, classes] counts pixels by true (row) and predicted (column) class; scaling it does not
change the metrics. A label image has a number per instance and 0 for background.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.errors import UserError

# IoU in percent, so that matches are decided in integer arithmetic.
THRESHOLDS = (50, 55, 60, 65, 70, 75, 80, 85, 90, 95)


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int, unlabelled: int = 255) -> np.ndarray:
    """Counts pixels by true and predicted class, int64 [classes, classes].

    Pixels with `unlabelled` truth are ignored.

    Raises:
      UserError: The shapes differ, or a class id is out of range.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise UserError(f"the true mask has shape {truth.shape}, the predicted {prediction.shape}; they must be equal")
    labelled = truth != unlabelled
    pairs = np.stack([truth[labelled], prediction[labelled]]).astype(np.int64)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= classes):
        raise UserError(f"masks have class ids from {pairs.min()} to {pairs.max()}; they must be 0 to {classes - 1}")
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes * classes).reshape(classes, classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Computes IoU per class, float64 [classes]; NaN for classes without pixels."""
    both, either = _counts(confusion)
    return np.divide(both, either - both, out=np.full(len(both), np.nan), where=either > 0)


def class_dice(confusion: np.ndarray) -> np.ndarray:
    """Computes Dice (F1) per class, float64 [classes]; NaN for classes without pixels."""
    both, either = _counts(confusion)
    return np.divide(2.0 * both, either, out=np.full(len(both), np.nan), where=either > 0)


def _counts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns per class the shared pixels, and the sum of true and predicted pixels."""
    confusion = np.nan_to_num(np.asarray(confusion, np.float64))  # fractions of zero pixels are NaN
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion has shape {list(confusion.shape)}; expected [classes, classes]")
    return np.diagonal(confusion), confusion.sum(0) + confusion.sum(1)


def mean_over_classes(values: np.ndarray) -> float:
    """Averages over the classes that are not NaN; NaN if all are."""
    occurring = values[~np.isnan(values)]
    return float(occurring.mean()) if len(occurring) else float("nan")


class Overlaps(NamedTuple):
    """Pixel overlaps of the instances in two label images.

    Attributes:
      shared: Pixels shared by each true and predicted instance, int64 [true, predicted].
      true: Pixels of each true instance, int64 [true].
      predicted: Pixels of each predicted instance, int64 [predicted].
    """

    shared: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def overlaps(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """Computes overlaps of two label images [height, width].

    Instances are in ascending order of their numbers, which may have gaps.

    Raises:
      UserError: The shapes differ, or a number is negative.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise UserError(
            f"the true instances have shape {truth.shape}, the predicted {prediction.shape}; they must be equal"
        )
    if truth.size and min(truth.min(), prediction.min()) < 0:
        raise UserError("a label image has a negative number; number instances from 1, with 0 for background")
    # The prepended 0 makes index 0 the background in both, even if it does not occur.
    numbers, rows = np.unique(np.append(0, truth.ravel()), return_inverse=True)
    others, columns = np.unique(np.append(0, prediction.ravel()), return_inverse=True)
    flat = np.bincount(rows[1:] * len(others) + columns[1:], minlength=len(numbers) * len(others))
    table = flat.reshape(len(numbers), len(others))
    return Overlaps(table[1:, 1:], table[1:].sum(1), table[:, 1:].sum(0))


def matches(overlap: Overlaps, threshold: int) -> int:
    """Counts pairs of true and predicted instances with IoU above `threshold` percent.

    Above 50% each instance is in at most one pair, so the matching is unique and maximal.

    Raises:
      ValueError: `threshold` is below 50.
    """
    if threshold < 50:
        raise ValueError(f"threshold={threshold} must be at least 50 percent, where pairs are unique")
    union = overlap.true[:, None] + overlap.predicted[None, :] - overlap.shared
    return int(np.sum(100 * overlap.shared > threshold * union))


def instance_precision(
    truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray], thresholds: Sequence[int] = THRESHOLDS
) -> np.ndarray:
    """Computes TP / (TP + FP + FN) at each IoU threshold, from counts over all images.

    This is the average precision of the 2018 Data Science Bowl (which averaged over images) and of StarDist
    (arXiv:1806.03535), not COCO's area under the precision-recall curve.

    Args:
      truths, predictions: Label images [height, width], one pair per image.
      thresholds: IoU in percent (exclusive), at least 50.

    Returns:
      float64 [thresholds]; NaN without any instance.
    """
    hits, instances = np.zeros(len(thresholds)), 0
    for truth, prediction in zip(truths, predictions, strict=True):
        overlap = overlaps(truth, prediction)
        hits += [matches(overlap, threshold) for threshold in thresholds]
        instances += len(overlap.true) + len(overlap.predicted)
    # TP + FP + FN = true + predicted - TP
    return hits / (instances - hits) if instances else np.full(len(thresholds), np.nan)


def foreground_dice(truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray]) -> float:
    """Computes Dice of foreground against background over all pixels; NaN if all is background."""
    both = total = 0
    for truth, prediction in zip(truths, predictions, strict=True):
        both += int(np.count_nonzero((truth > 0) & (prediction > 0)))
        total += int(np.count_nonzero(truth > 0) + np.count_nonzero(prediction > 0))
    return 2.0 * both / total if total else float("nan")


def count_error(truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray]) -> float:
    """Computes the mean of |predicted instances - true instances|; NaN without images."""
    pairs = zip(truths, predictions, strict=True)
    errors = [abs(len(np.unique(p[p > 0])) - len(np.unique(t[t > 0]))) for t, p in pairs]
    return float(np.mean(errors)) if errors else float("nan")
