"""What a trained classifier says of generated images: its features for FID and the like, its labels for coverage.

The classifier is a parameter group, "judge", that no phase trains: it is frozen by construction, lies in the checkpoint
and in the run's digests, and comes from another run by `start=Start(run, groups={"judge": "classifier"})`. Drawn at
random, as in a `tiny()`, it makes figures that mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.tasks.parts.apply import normalize_images
from jaxdl.training.task import Array, PyTree

JUDGE = "judge"
COVERED = 0.01  # a class counts as found when it has at least this share of the generated images


@dataclass(frozen=True)
class Judge:
    """A classifier of images, as it was trained.

    Attributes:
      network: with `features(image, *, train) -> [batch, h, w, channels]` and `classify(features, *, train) -> logits
        [batch, classes]`, such as `ConvNet`.
      mean, std: of its training, see `jaxdl.tasks.parts.apply.normalize_images`.
    """

    network: Any
    mean: float = 0.5
    std: float = 0.25

    def init(self, key: Array, image: Array) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """({"judge": parameters}, {"judge": collections}); image [batch, height, width, channels] in 0..255."""
        collections = dict(self.network.init(key, self._normal(image), train=False))
        params = collections.pop("params")
        return {JUDGE: params}, {JUDGE: collections} if collections else {}

    def records(self, params: PyTree, variables: PyTree, real: Array, generated: Array) -> dict[str, Array]:
        """What `score` takes, of as many real as generated images [batch, height, width, channels] in 0..255:
        `real_features` and `generated_features` [batch, channels], `real_label` and `generated_label` int32 [batch].
        """
        records = {}
        for name, image in (("real", real), ("generated", generated)):
            features, logits = self.apply(params, variables, image)
            records |= {f"{name}_features": features, f"{name}_label": logits.argmax(-1).astype(jnp.int32)}
        return records

    def apply(self, params: PyTree, variables: PyTree, image: Array) -> tuple[Array, Array]:
        """Features [batch, channels], means over the last feature map, and logits [batch, classes]."""
        inputs = {"params": params[JUDGE], **variables.get(JUDGE, {})}

        def see(network: nn.Module, image: Array) -> tuple[Array, Array]:
            maps = network.features(image, train=False)  # type: ignore
            return maps.astype(jnp.float32).mean((1, 2)), network.classify(maps, train=False)  # type: ignore

        return nn.apply(see, self.network)(inputs, self._normal(image))

    def _normal(self, image: Array) -> Array:
        return normalize_images(jnp.asarray(image), mean=self.mean, std=self.std)


def score(records: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Figures from what `Judge.records` gave, gathered over all examples.

    Returns:
      `fid`, `kid`, `precision`, `recall`; `fid_floor`, the FID between two halves of the real images, which a perfect
      generator of half as many images would reach; `classes`, how many classes at least 1% of the generated images
      have, and `class_entropy`, the entropy of their labels in nats.
    """
    from jaxdl.metrics.generation import frechet_distance, kernel_distance, precision_recall

    real, generated = records["real_features"], records["generated_features"]
    precision, recall = precision_recall(real, generated)
    shares = np.bincount(records["generated_label"]) / len(generated)
    known = shares[shares > 0]
    return {
        "fid": frechet_distance(real, generated),
        "fid_floor": frechet_distance(real[::2], real[1::2]),
        "kid": kernel_distance(real, generated, subsets=20),
        "precision": precision,
        "recall": recall,
        "classes": float(np.sum(shares >= COVERED)),
        "class_entropy": float(-np.sum(known * np.log(known))),
    }
