"""How well images were segmented: classes by their confusion matrix, instances by matching label images. Only numpy.

A confusion matrix [classes, classes] counts pixels by true class (row) and predicted class (column); any multiple of
it, such as shares of all pixels, gives the same figures. A label image has a number an instance, 0 where there is none.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.errors import UserError

# Of the intersection over union, in percent, so that a match at a threshold is decided in whole numbers.
THRESHOLDS = (50, 55, 60, 65, 70, 75, 80, 85, 90, 95)


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int, unlabelled: int = 255) -> np.ndarray:
    """int64 [classes, classes] over all pixels of masks of any one shape whose truth is not `unlabelled`.

    Raises:
      UserError: masks of two shapes, or a class id out of range.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise UserError(f"the true mask has shape {truth.shape}, the predicted one {prediction.shape}: make them equal")
    known = truth != unlabelled
    pairs = np.stack([truth[known], prediction[known]]).astype(np.int64)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= classes):
        raise UserError(f"masks hold class ids from {pairs.min()} to {pairs.max()}: they must be 0 to {classes - 1}")
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes * classes).reshape(classes, classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 [classes]; NaN for one that is in neither truth nor prediction."""
    both, either = _counts(confusion)
    return np.divide(both, either - both, out=np.full(len(both), np.nan), where=either > 0)


def class_dice(confusion: np.ndarray) -> np.ndarray:
    """Dice coefficient (F1) of each class, float64 [classes]; NaN for one that is in neither truth nor prediction."""
    both, either = _counts(confusion)
    return np.divide(2.0 * both, either, out=np.full(len(both), np.nan), where=either > 0)


def _counts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each class: the pixels that truth and prediction share, and those of truth plus those of prediction."""
    confusion = np.nan_to_num(np.asarray(confusion, np.float64))  # shares of no pixels at all are NaN
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion has shape {list(confusion.shape)}, not [classes, classes]")
    return np.diagonal(confusion), confusion.sum(0) + confusion.sum(1)


def mean_over_classes(values: np.ndarray) -> float:
    """The mean over the classes that occur (are not NaN); NaN if none does."""
    occurring = values[~np.isnan(values)]
    return float(occurring.mean()) if len(occurring) else float("nan")


class Overlaps(NamedTuple):
    """How the instances of two label images lie over each other.

    Attributes:
      shared: int64 [true, predicted] pixels that a true and a predicted instance share.
      true: int64 [true] pixels of each true instance.
      predicted: int64 [predicted] pixels of each predicted instance.
    """

    shared: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def overlaps(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """Of two label images [height, width]; instances in the order of their numbers, which need not be contiguous.

    Raises:
      UserError: label images of two sizes, or a negative number.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise UserError(
            f"the true instances have shape {truth.shape}, the predicted {prediction.shape}: make them equal"
        )
    if truth.size and min(truth.min(), prediction.min()) < 0:
        raise UserError("a label image has a negative number: instances are numbered from 1, and 0 is the background")
    # With 0 put in front, index 0 stands for the background in both, whether it occurs or not.
    numbers, rows = np.unique(np.append(0, truth.ravel()), return_inverse=True)
    others, columns = np.unique(np.append(0, prediction.ravel()), return_inverse=True)
    flat = np.bincount(rows[1:] * len(others) + columns[1:], minlength=len(numbers) * len(others))
    table = flat.reshape(len(numbers), len(others))
    return Overlaps(table[1:, 1:], table[1:].sum(1), table[:, 1:].sum(0))


def matches(found: Overlaps, threshold: int) -> int:
    """Pairs of a true and a predicted instance whose intersection over union is above `threshold` percent.

    Above one half a pair shares more than half of each partner, so no instance is in two pairs: the matching is one to
    one, and there is no larger one.

    Raises:
      ValueError: a threshold below 50, where that does not hold.
    """
    if threshold < 50:
        raise ValueError(f"threshold={threshold}: below 50 percent pairs are not unique")
    union = found.true[:, None] + found.predicted[None, :] - found.shared
    return int(np.sum(100 * found.shared > threshold * union))


def instance_precision(
    truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray], thresholds: Sequence[int] = THRESHOLDS
) -> np.ndarray:
    """TP / (TP + FP + FN) at each threshold, with the counts of all images added up first.

    This is the average precision that the 2018 Data Science Bowl scored and that StarDist (arXiv:1806.03535) reports;
    it is not COCO's area under a precision-recall curve. The Bowl took the mean over images, StarDist adds up counts.

    Args:
      truths, predictions: label images [height, width], a pair an image.
      thresholds: of the intersection over union in percent, at least 50; a match lies above.

    Returns:
      float64 [thresholds]; NaN if there is no instance anywhere.
    """
    hits, instances = np.zeros(len(thresholds)), 0
    for truth, prediction in zip(truths, predictions, strict=True):
        found = overlaps(truth, prediction)
        hits += [matches(found, threshold) for threshold in thresholds]
        instances += len(found.true) + len(found.predicted)
    # TP + FP + FN = true + predicted - TP
    return hits / (instances - hits) if instances else np.full(len(thresholds), np.nan)


def foreground_dice(truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray]) -> float:
    """Dice coefficient of "some instance" against "none", over the pixels of all images; NaN if all is background."""
    both = each = 0
    for truth, prediction in zip(truths, predictions, strict=True):
        both += int(np.count_nonzero((truth > 0) & (prediction > 0)))
        each += int(np.count_nonzero(truth > 0) + np.count_nonzero(prediction > 0))
    return 2.0 * both / each if each else float("nan")


def count_error(truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray]) -> float:
    """Mean over images of |predicted instances - true instances|; NaN without images."""
    pairs = zip(truths, predictions, strict=True)
    errors = [abs(len(np.unique(p[p > 0])) - len(np.unique(t[t > 0]))) for t, p in pairs]
    return float(np.mean(errors)) if errors else float("nan")
