"""Box overlap in closed form, and NMS against a plain reference."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.decoding.nms import (
    area,
    detections,
    generalized_iou,
    intersection_over_union,
    pairwise_iou,
    suppress,
)


def test_overlap_matches_manual_counts():
    a = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    b = jnp.array([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [2.0, 3.0, 3.0, 4.0]])
    np.testing.assert_allclose(intersection_over_union(a, b), [1 / 7, 1.0, 0.0], rtol=1e-6)
    # Hulls of 9, 4 and 3 x 4 = 12 square pixels; unions of 7, 4 and 2.
    np.testing.assert_allclose(generalized_iou(a, b), [1 / 7 - 2 / 9, 1.0, -10 / 12], rtol=1e-6)
    assert pairwise_iou(a, b[:2]).shape == (3, 2)


def test_empty_boxes_have_no_area_and_finite_gradients():
    empty = jnp.array([1.0, 1.0, 1.0, 1.0])
    assert float(area(jnp.array([3.0, 0.0, 1.0, 5.0]))) == 0.0
    gradient = jax.jit(jax.grad(lambda box: generalized_iou(box, empty)))(empty)
    assert np.all(np.isfinite(gradient))


compiled_iou, compiled_generalized_iou, compiled_suppression = map(
    jax.jit, (intersection_over_union, generalized_iou, suppress)
)
corner = st.floats(0, 50, width=32)
extent = st.floats(0.5, 50, width=32)
box = st.tuples(corner, corner, extent, extent).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@settings(deadline=None, max_examples=50)
@given(box, box)
def test_generalized_iou_lies_between_minus_one_and_iou(a, b):
    first, second = np.array([a, b], np.float32)
    iou, generalized = float(compiled_iou(first, second)), float(compiled_generalized_iou(first, second))
    assert -1 < generalized <= iou + 1e-6 <= 1 + 1e-5
    np.testing.assert_allclose(generalized, compiled_generalized_iou(second, first), atol=1e-6)
    moved = np.array([first, second]) + np.array([7, -3, 7, -3], np.float32)
    np.testing.assert_allclose(compiled_generalized_iou(*moved), generalized, atol=1e-3)


def reference_suppression(boxes, scores, threshold):
    """Textbook reference: keeps the best box, drops overlapping ones, repeats."""
    remaining = [index for index in np.argsort(-scores, kind="stable") if scores[index] > 0]
    selected = np.zeros(len(scores), bool)
    while remaining:
        best = remaining.pop(0)
        selected[best] = True
        remaining = [i for i in remaining if float(compiled_iou(boxes[best], boxes[i])) <= threshold]
    return selected


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_matches_the_reference(seed, threshold):
    draws = np.random.default_rng(seed)
    start = draws.uniform(0, 20, (12, 2))
    boxes = np.concatenate([start, start + draws.uniform(4, 20, (12, 2))], axis=1).astype(np.float32)
    scores = np.where(draws.uniform(size=12) < 0.2, 0.0, draws.uniform(size=12).round(1)).astype(np.float32)  # ties
    kept = compiled_suppression(boxes, scores, threshold)
    np.testing.assert_array_equal(kept, reference_suppression(boxes, scores, threshold))


def test_detections_are_class_wise_and_padded_with_zeros():
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [0.5, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0]], np.float32)
    scores = np.array([[0.9, 0.8], [0.7, 0.0], [0.0, 0.4]])
    results = jax.jit(lambda *inputs: detections(*inputs, threshold=0.5, candidates=6, limit=5))(boxes, scores)
    np.testing.assert_allclose(results["scores"], [0.9, 0.8, 0.4, 0.0, 0.0])
    np.testing.assert_array_equal(results["labels"][:3], [0, 1, 1])
    np.testing.assert_allclose(results["boxes"][2], boxes[2])
    assert not np.any(results["boxes"][3:])
