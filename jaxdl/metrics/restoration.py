"""How close restored images come to clean ones: PSNR and SSIM, as scikit-image computes them, of each image."""

import numpy as np

from jaxdl.errors import UserError, from_extra

# dB: what an image counts that is restored exactly, or so nearly that it would count more. Without an end such images
# would make a mean infinite.
HIGHEST = 60.0
WINDOW = 11  # pixels: the side of the window of SSIM


def psnr(clean: np.ndarray, restored: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio of each image, 10 log10(255^2 / mean squared error) in dB, at most 60.

    Args:
      clean, restored: uint8 [images, height, width, channels].
      counted: bool [images, height, width, 1], the pixels that count; None: all.

    Returns:
      float64 [images]; NaN for an image of which no pixel counts.

    Raises:
      UserError: images of two shapes.
    """
    with from_extra("restoration", "PSNR"):
        from skimage.metrics import peak_signal_noise_ratio

    _check(clean, restored)
    values = np.full(len(clean), np.nan)
    for number, (one, other) in enumerate(zip(clean, restored)):
        if counted is not None:
            one, other = (image[counted[number, ..., 0]] for image in (one, other))
        if one.size:
            same = np.array_equal(one, other)
            found = np.inf if same else peak_signal_noise_ratio(one, other, data_range=255)
            values[number] = min(found, HIGHEST)
    return values


def ssim(clean: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Structural similarity of each image, with the Gaussian window of the paper (Wang et al. 2004), mean of channels.

    Args:
      clean, restored: uint8 [images, height, width, channels], at least 11x11.

    Returns:
      float64 [images], at most 1; NaN where images are smaller than the window.

    Raises:
      UserError: images of two shapes.
    """
    with from_extra("restoration", "SSIM"):
        from skimage.metrics import structural_similarity

    _check(clean, restored)
    if min(clean.shape[1:3]) < WINDOW:
        return np.full(len(clean), np.nan)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(clean, restored)
    return np.array([structural_similarity(*pair, channel_axis=-1, **options) for pair in pairs], np.float64)


def _check(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.shape != restored.shape:
        raise UserError(f"clean images have shape {clean.shape}, restored ones {restored.shape}: make them equal")
