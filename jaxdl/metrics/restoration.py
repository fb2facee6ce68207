"""PSNR and SSIM per image, computed by scikit-image."""

import numpy as np

from jaxdl.errors import UserError, from_extra

# dB; PSNR is clipped here, because exactly restored images would make a mean infinite.
HIGHEST = 60.0
WINDOW = 11  # pixels; side of the SSIM window


def psnr(clean: np.ndarray, restored: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Computes PSNR per image, 10 log10(255^2 / MSE) in dB, at most 60.

    Args:
      clean, restored: uint8 [images, height, width, channels].
      counted: Pixels to include, bool [images, height, width, 1]. None includes all.

    Returns:
      float64 [images]; NaN for images without included pixels.

    Raises:
      UserError: The shapes differ.
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
            value = np.inf if same else peak_signal_noise_ratio(one, other, data_range=255)
            values[number] = min(value, HIGHEST)
    return values


def ssim(clean: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Computes SSIM per image with the Gaussian window of Wang et al. (2004).

    Args:
      clean, restored: uint8 [images, height, width, channels].

    Returns:
      float64 [images], at most 1; NaN for images smaller than 11x11.

    Raises:
      UserError: The shapes differ.
    """
    with from_extra("restoration", "SSIM"):
        from skimage.metrics import structural_similarity

    _check(clean, restored)
    if min(clean.shape[1:3]) < WINDOW:
        return np.full(len(clean), np.nan)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(clean, restored)
    return np.array([structural_similarity(*pair, channel_axis=-1, **options) for pair in pairs], np.float64)


def ssim_of_frames(clean: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Computes SSIM per frame of videos uint8 [videos, frames, height, width, channels], float64 [videos, frames]."""
    flat = (video.reshape(-1, *video.shape[2:]) for video in (clean, predicted))
    return ssim(*flat).reshape(clean.shape[:2])


def _check(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.shape != restored.shape:
        raise UserError(f"clean images have shape {clean.shape}, restored ones {restored.shape}; they must be equal")
