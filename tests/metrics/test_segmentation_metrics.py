"""Segmentation metrics against manual values and scipy's matching."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from jaxdl.errors import UserError
from jaxdl.metrics.segmentation import (
    THRESHOLDS,
    class_dice,
    class_iou,
    confusion_matrix,
    count_error,
    foreground_dice,
    instance_precision,
    matches,
    mean_over_classes,
    overlaps,
)

label_images = arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def test_confusion_iou_and_dice_match_manual_values():
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], np.uint8)
    guess = np.array([[0, 1, 1, 1], [2, 0, 0, 3]], np.uint8)
    confusion = confusion_matrix(truth, guess, 5)
    np.testing.assert_array_equal(
        confusion, [[1, 1, 0, 0, 0], [0, 2, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    )
    np.testing.assert_allclose(class_iou(confusion), [1 / 3, 2 / 3, 1 / 2, np.nan, np.nan])
    np.testing.assert_allclose(class_dice(confusion), [2 / 4, 4 / 5, 2 / 3, np.nan, np.nan])
    assert mean_over_classes(class_iou(confusion)) == pytest.approx(0.5)
    np.testing.assert_allclose(class_iou(confusion / confusion.sum()), class_iou(confusion))


def test_a_class_without_truth_has_iou_zero():
    np.testing.assert_allclose(class_iou(np.array([[3, 1], [0, 0]])), [0.75, 0.0])


def test_empty_counts_yield_nan():
    assert np.isnan(mean_over_classes(class_iou(np.full((3, 3), np.nan))))
    assert np.isnan(foreground_dice([np.zeros((2, 2))], [np.zeros((2, 2))]))
    assert np.isnan(instance_precision([np.zeros((2, 2), int)], [np.zeros((2, 2), int)])).all()
    assert np.isnan(count_error([], []))


def test_instance_precision_matches_manual_values():
    truth, guess = np.zeros((2, 4, 10), np.int32)
    truth[:2, :5] = 7  # 10 pixels
    truth[2:, :5] = 3  # 10 pixels
    guess[:2, :4] = 1  # 8 of the first: IoU 0.8
    guess[2:, 4:9] = 2  # 2 of the second: IoU 2 / 18
    pairs = overlaps(truth, guess)
    np.testing.assert_array_equal(pairs.shared, [[0, 2], [8, 0]])
    np.testing.assert_array_equal(pairs.true, [10, 10])
    np.testing.assert_array_equal(pairs.predicted, [8, 10])
    precision = instance_precision([truth], [guess])
    # TP 1, FP 1, FN 1. A match must exceed its threshold, so 0.80 is not matched.
    np.testing.assert_allclose(precision, [1 / 3] * 6 + [0] * 4)
    assert foreground_dice([truth], [guess]) == pytest.approx(2 * 10 / 38)
    assert count_error([truth, truth], [guess, np.zeros_like(guess)]) == 1.0


def test_counts_are_summed_over_images():
    single, none = np.array([[1, 0]]), np.array([[0, 0]])
    three = np.array([[1, 2], [3, 0]])
    assert instance_precision([single, three], [single, 0 * three])[0] == pytest.approx(1 / 4)
    assert instance_precision([single, none], [single, single])[0] == pytest.approx(1 / 2)


@settings(deadline=None)
@given(label_images, label_images, st.sampled_from(THRESHOLDS))
def test_matching_is_a_maximum_one_to_one_matching(truth, guess, threshold):
    pairs = overlaps(truth, guess)
    numbers, others = (np.unique(labels[labels > 0]) for labels in (truth, guess))
    iou = np.array(
        [[np.sum((truth == n) & (guess == m)) / np.sum((truth == n) | (guess == m)) for m in others] for n in numbers]
    ).reshape(len(numbers), len(others))
    above = iou > threshold / 100 + 1e-9
    rows, columns = linear_sum_assignment(-above.astype(float))
    assert matches(pairs, threshold) == above[rows, columns].sum()


@settings(deadline=None)
@given(label_images, st.permutations(range(1, 5)))
def test_metrics_are_invariant_to_instance_numbers(truth, numbers):
    renumbered = np.array([0, *numbers])[truth] * 1000
    precision = instance_precision([truth], [renumbered])
    assert np.isnan(precision).all() if not truth.any() else (precision == 1).all()
    assert count_error([truth], [renumbered]) == 0


@settings(deadline=None)
@given(label_images, label_images)
def test_confusion_matrices_are_consistent(truth, guess):
    confusion = confusion_matrix(truth, guess, 5)
    assert confusion.sum() == truth.size
    np.testing.assert_array_equal(confusion.T, confusion_matrix(guess, truth, 5))
    iou, dice = class_iou(confusion), class_dice(confusion)
    np.testing.assert_allclose(dice, 2 * iou / (1 + iou))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion_matrix(np.array([5]), np.array([0]), 5), "class ids from 0 to 5; they must be 0 to 4"),
        (lambda: confusion_matrix(np.zeros(3), np.zeros(4), 5), "must be equal"),
        (lambda: overlaps(np.zeros((2, 2)), np.zeros((2, 3))), "must be equal"),
        (lambda: overlaps(np.array([[-1]]), np.array([[0]])), "negative number"),
    ],
)
def test_invalid_inputs_are_user_errors(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_thresholds_below_one_half_are_refused():
    with pytest.raises(ValueError, match="at least 50"):
        matches(overlaps(np.zeros((1, 1), int), np.zeros((1, 1), int)), 40)
