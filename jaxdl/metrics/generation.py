"""How well generated images match real ones, from features of both that a classifier gives. Only numpy and scipy.

Features are float [images, features]. Every figure depends on the network that the features come from, and on how many
images there are: it compares with figures from the same network and about as many images, and with the floor, which is
what real images reach against other real ones.
"""

import numpy as np

from jaxdl.errors import UserError


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """FID: the Fréchet distance of two Gaussians with the features' means and covariances (arXiv:1706.08500).

    |m - n|^2 + tr(C + D - 2 (C D)^(1/2)); 0 for equal moments.

    Raises:
      UserError: fewer than two images, another number of features, or a feature that is not finite.
    """
    real, generated = _checked(real, generated)
    gap = real.mean(0) - generated.mean(0)
    first, second = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (real, generated))
    # tr (C D)^(1/2) from the eigenvalues of the symmetric C^(1/2) D C^(1/2), which are not negative but for rounding.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ second @ root)
    return float(max(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(mixed, 0)).sum(), 0.0))


def kernel_distance(real: np.ndarray, generated: np.ndarray, subsets: int = 100, size: int = 1000) -> float:
    """KID: the squared maximum mean discrepancy under the kernel (x y / features + 1)^3 (arXiv:1801.01401).

    Without bias, so that it may come out below 0; the mean over `subsets` random subsets of at most `size` images.

    Raises:
      UserError: as `frechet_distance`.
    """
    real, generated = _checked(real, generated)
    count = min(size, len(real), len(generated))
    random, values = np.random.default_rng(0), []
    for _ in range(subsets):
        x = real[random.choice(len(real), count, replace=False)]
        y = generated[random.choice(len(generated), count, replace=False)]
        within = (_kernel(each, each) for each in (x, y))
        same = sum((kernel.sum() - np.trace(kernel)) / (count * (count - 1)) for kernel in within)
        values.append(same - 2 * _kernel(x, y).mean())
    return float(np.mean(values))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """How many generated images look real, and how many real ones could have been generated (arXiv:1904.06991).

    A feature is covered by a set if it lies in a ball around one of the set, whose radius is the distance to that one's
    `neighbours`-th nearest in the set. Compares all pairs: meant for up to some 10,000 images.

    Raises:
      UserError: as `frechet_distance`, or no more images than `neighbours`.
    """
    real, generated = _checked(real, generated)
    if min(len(real), len(generated)) <= neighbours:
        raise UserError(f"{min(len(real), len(generated))} images: precision and recall need more than {neighbours}")
    return _covered(generated, real, neighbours), _covered(real, generated, neighbours)


def _covered(asked: np.ndarray, known: np.ndarray, neighbours: int, chunk: int = 1000) -> float:
    """The share of `asked` that the balls around `known` cover."""
    radii = []
    for start in range(0, len(known), chunk):
        distances = _squared_distances(known[start : start + chunk], known)
        radii.append(np.partition(distances, neighbours, axis=1)[:, neighbours])  # 0 is itself
    radius = np.concatenate(radii)
    hits = 0
    for start in range(0, len(asked), chunk):
        distances = _squared_distances(asked[start : start + chunk], known)
        hits += int(np.any(distances <= radius, axis=1).sum())
    return hits / len(asked)


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum((x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1), 0.0)


def _checked(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    for name, each in zip(("real", "generated"), arrays):
        if each.ndim != 2 or len(each) < 2:
            raise UserError(f"{name} features have shape {each.shape}: give [images, features] of two images or more")
        if not np.all(np.isfinite(each)):
            raise UserError(f"a feature of a {name} image is not finite: look at the images")
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise UserError(f"{arrays[0].shape[1]} features of real images, {arrays[1].shape[1]} of generated ones")
    return arrays
