"""PSNR and SSIM against manual values and the formula of the paper."""

import numpy as np
import pytest
from scipy import ndimage

from jaxdl.errors import UserError
from jaxdl.metrics.restoration import HIGHEST, psnr, ssim


def images(count=3, shape=(16, 20, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_psnr_matches_manual_values():
    clean = np.full((3, 2, 2, 1), 100, np.uint8)
    restored = clean.copy()
    restored[0] += 10  # squared error 100 at every pixel
    restored[1, 0, 0] -= 20  # 400 at one of four: the same mean
    np.testing.assert_allclose(psnr(clean, restored)[:2], 10 * np.log10(255**2 / 100))
    assert psnr(clean, restored)[2] == HIGHEST


def test_psnr_includes_counted_pixels_only():
    clean = np.full((3, 2, 2, 3), 100, np.uint8)
    restored = clean.copy()
    restored[:, 0] += 30
    restored[:, 1] += 10
    counted = np.zeros((3, 2, 2, 1), bool)
    counted[0, 0], counted[1, 1, 0] = True, True
    values = psnr(clean, restored, counted)
    np.testing.assert_allclose(values[:2], 10 * np.log10(255**2 / np.array([900, 100])))
    assert np.isnan(values[2])


def test_psnr_is_clipped_at_60_db():
    clean = images(1, (64, 64, 1))
    restored = clean.copy()
    restored[0, 0, 0] ^= 1  # 84 dB
    assert psnr(clean, restored) == [HIGHEST]


def test_ssim_matches_the_paper():
    """SSIM of Wang et al. (2004): 11x11 Gaussian window with std 1.5, K1 = 0.01, K2 = 0.03."""
    clean = images(2)
    restored = np.clip(clean + np.random.default_rng(1).normal(0, 40, clean.shape), 0, 255).astype(np.uint8)

    def average(x):
        return ndimage.gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    for value, reference, image in zip(
        ssim(clean, restored), clean[..., 0].astype(float), restored[..., 0].astype(float)
    ):
        m, n = average(reference), average(image)
        variances = average(reference**2) - m**2 + average(image**2) - n**2
        covariance = average(reference * image) - m * n
        c, d = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        expected = ((2 * m * n + c) * (2 * covariance + d) / ((m**2 + n**2 + c) * (variances + d))).mean()
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(ssim(clean, clean), 1)


def test_ssim_of_colours_is_the_mean_of_channels():
    clean, restored = images(2, (12, 12, 3)), images(2, (12, 12, 3), seed=1)
    channel_means = np.mean([ssim(clean[..., [c]], restored[..., [c]]) for c in range(3)], axis=0)
    np.testing.assert_allclose(ssim(clean, restored), channel_means)


def test_images_smaller_than_the_window_have_no_ssim():
    assert np.isnan(ssim(images(2, (10, 30, 1)), images(2, (10, 30, 1)))).all()


def test_different_shapes_are_refused():
    for metric in (psnr, ssim):
        with pytest.raises(UserError, match="must be equal"):
            metric(images(2), images(3))
