"""FID, KID, precision and recall against closed forms."""

import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.metrics.generation import frechet_distance, kernel_distance, nearest_images, precision_recall

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2000, 5))


def test_fid_of_gaussians_matches_the_closed_form():
    """For diagonal covariances: |m - n|^2 + sum (s - t)^2."""
    exact = (X - X.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(X, rowvar=False))).T  # moments exactly 0 and 1
    scale, shift = np.array([1.0, 2.0, 0.5, 3.0, 1.0]), np.array([1.0, 0.0, -2.0, 0.0, 0.0])
    np.testing.assert_allclose(frechet_distance(exact, exact * scale + shift), 5 + 1 + 0.25 + 4, rtol=1e-6)
    assert frechet_distance(exact, exact) < 1e-9


def test_fid_is_invariant_under_rotation():
    y = RANDOM.normal(size=(1500, 5)) @ RANDOM.normal(size=(5, 5))
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    np.testing.assert_allclose(frechet_distance(X @ rotation, y @ rotation), frechet_distance(X, y), rtol=1e-6)


def test_fid_supports_constant_features():
    flat = np.concatenate([X, np.ones((2000, 2))], axis=1)
    np.testing.assert_allclose(frechet_distance(flat, flat + 1), 7, rtol=1e-6)


def test_kid_is_the_mean_over_all_pairs():
    x, y = X[:40], X[40:80] + 1

    def kernel(a, b):
        return (np.dot(a, b) / 5 + 1) ** 3

    pairs = [(i, j) for i in range(40) for j in range(40)]
    within = sum(np.mean([kernel(z[i], z[j]) for i, j in pairs if i != j]) for z in (x, y))
    expected = within - 2 * np.mean([kernel(x[i], y[j]) for i, j in pairs])
    np.testing.assert_allclose(kernel_distance(x, y, subsets=2), expected, rtol=1e-9)
    assert abs(kernel_distance(X[:1000], X[1000:], subsets=10)) < 0.1 < expected


def test_precision_penalizes_unrealistic_images_and_recall_missing_ones():
    real, generated = X[:1000], X[1000:]
    precision, recall = precision_recall(real, generated)
    assert precision > 0.8
    assert recall > 0.8
    mixed = np.concatenate([generated[:500], generated[:500] + 100])
    precision, recall = precision_recall(real, mixed)
    assert 0.4 < precision < 0.5
    assert recall > 0.6
    precision, recall = precision_recall(real, generated[np.abs(generated[:, 0]) < 0.1] * 0.5)
    assert precision > 0.8
    assert recall < 0.5


@pytest.mark.parametrize("bad", [X[:1], X[:, :3], np.full((5, 5), np.nan), X[0]])
def test_incompatible_features_are_refused(bad):
    with pytest.raises(UserError):
        frechet_distance(X, bad)


def test_the_nearest_image_is_that_of_all_pairs():
    images, references = RANDOM.integers(0, 256, (2, 30, 4, 4, 3)).astype(np.uint8)
    references[7], references[9] = images[3], images[3]
    differences = np.sqrt(((images[:, None].astype(float) - references[None]) ** 2).mean((2, 3, 4)))
    index, difference = nearest_images(images, references)
    np.testing.assert_array_equal(index, differences.argmin(1))
    np.testing.assert_allclose(difference, differences.min(1))
    assert (index[3], difference[3]) == (7, 0.0)
