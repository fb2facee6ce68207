"""FID, KID, precision and recall of generated images, from classifier features.

Features are float [images, features]. All values depend on the feature network and the number of images: compare only
values of the same network and a similar number, and with the floor, the value of real images against other real ones.
"""

import numpy as np

from jaxdl.errors import UserError


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Computes the Fréchet inception distance (arXiv:1706.08500).

    |m - n|^2 + tr(C + D - 2 (C D)^(1/2)) with means m, n and covariances C, D.

    Raises:
      UserError: There are fewer than two images, the feature counts differ, or a feature is not finite.
    """
    real, generated = _checked(real, generated)
    gap = real.mean(0) - generated.mean(0)
    first, second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, generated))
    # tr (C D)^(1/2) from the eigenvalues of the symmetric C^(1/2) D C^(1/2), non-negative up to rounding.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ second @ root)
    return float(max(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(mixed, 0)).sum(), 0.0))


def kernel_distance(real: np.ndarray, generated: np.ndarray, subsets: int = 100, size: int = 1000) -> float:
    """Computes KID: the squared MMD with kernel (x y / features + 1)^3 (arXiv:1801.01401).

    Unbiased, so it may be negative; the mean over `subsets` random subsets of at most `size` images.

    Raises:
      UserError: As `frechet_distance`.
    """
    real, generated = _checked(real, generated)
    count = min(size, len(real), len(generated))
    random, values = np.random.default_rng(0), []
    for _ in range(subsets):
        x = real[random.choice(len(real), count, replace=False)]
        y = generated[random.choice(len(generated), count, replace=False)]
        within = (_kernel(features, features) for features in (x, y))
        same = sum((kernel.sum() - np.trace(kernel)) / (count * (count - 1)) for kernel in within)
        values.append(same - 2 * _kernel(x, y).mean())
    return float(np.mean(values))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Computes precision and recall by k-nearest-neighbour balls (arXiv:1904.06991).

    A feature is covered by a set if it lies within the distance of a member to its `neighbours`-th nearest member.
    Precision is the fraction of generated images covered by real ones, recall the converse. Compares all pairs, for up
    to about 10,000 images.

    Raises:
      UserError: As `frechet_distance`, or there are too few images for `neighbours`.
    """
    real, generated = _checked(real, generated)
    if min(len(real), len(generated)) <= neighbours:
        raise UserError(
            f"{min(len(real), len(generated))} images are too few; precision and recall need more than {neighbours}"
        )
    return _covered(generated, real, neighbours), _covered(real, generated, neighbours)


def _covered(queries: np.ndarray, members: np.ndarray, neighbours: int, chunk: int = 1000) -> float:
    """Returns the fraction of `queries` covered by the balls around `members`."""
    radii = []
    for start in range(0, len(members), chunk):
        distances = _squared_distances(members[start : start + chunk], members)
        radii.append(np.partition(distances, neighbours, axis=1)[:, neighbours])  # index 0 is the member itself
    radius = np.concatenate(radii)
    hits = 0
    for start in range(0, len(queries), chunk):
        distances = _squared_distances(queries[start : start + chunk], members)
        hits += int(np.any(distances <= radius, axis=1).sum())
    return hits / len(queries)


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum((x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1), 0.0)


def nearest_images(images: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the reference with the least root mean squared difference of pixels from each image.

    Args:
      images: [n, ...], any dtype.
      references: [m, ...].

    Returns:
      Indices int [n] and differences float64 [n], in the unit of the pixels. The first of equal references.
    """
    first, second = (part.reshape(len(part), -1).astype(np.float64) for part in (images, references))
    squared = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2.0 * (first @ second.T)
    index = squared.argmin(1)
    # The expansion loses the digits of small distances.
    return index, np.sqrt(np.mean(np.square(first - second[index]), axis=1))


def _checked(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    for name, features in zip(("real", "generated"), arrays):
        if features.ndim != 2 or len(features) < 2:
            raise UserError(f"{name} features have shape {features.shape}; expected [images, features], >= 2 images")
        if not np.all(np.isfinite(features)):
            raise UserError(f"a feature of a {name} image is not finite; check the images")
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise UserError(
            f"real images have {arrays[0].shape[1]} features, generated ones {arrays[1].shape[1]}; use one network"
        )
    return arrays
