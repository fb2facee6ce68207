"""FID classifier: features and labels of generated images for FID, KID, precision, recall and class coverage.

The classifier is the parameter group "fid_classifier". No phase trains it, so it is frozen; checkpoints and digests
include it. Its weights come from another run:
`start=InitFromRun(run, groups={"fid_classifier": "classifier"})`. With random weights, as in test-sized recipes, the
metrics have no meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.tasks.parts.apply import init_module
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import Array, PyTree

GROUP = "fid_classifier"
COVERED = 0.01  # least share of the generated images at which a class counts as covered


@dataclass(frozen=True)
class FIDClassifier:
    """A trained image classifier whose features and labels FID and related metrics use.

    Attributes:
      network: Module with `features(image, *, train) -> [batch, h, w, channels]` and `classify(features, *, train) ->
        logits [batch, classes]`, such as `ConvNet`.
      normalize: Normalization of the images, equal to that of the classifier's training.
    """

    network: Any
    normalize: Normalize = field(default_factory=Normalize)

    def init(self, key: Array, image: Array) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Returns initial (params, variables) by group; image [batch, height, width, channels] in [0, 255]."""
        return init_module(GROUP, self.network, key, self.normalize(jnp.asarray(image)))

    def records(self, params: PyTree, variables: PyTree, real: Array, generated: Array) -> dict[str, Array]:
        """Returns the per-example records that `score` needs.

        `real` and `generated` are [batch, height, width, channels] in [0, 255].

        Returns:
          `real_features` and `generated_features` [batch, channels]; `real_label` and `generated_label` int32 [batch].
        """
        records = {}
        for name, image in (("real", real), ("generated", generated)):
            features, logits = self.apply(params, variables, image)
            records |= {f"{name}_features": features, f"{name}_label": logits.argmax(-1).astype(jnp.int32)}
        return records

    def apply(self, params: PyTree, variables: PyTree, image: Array) -> tuple[Array, Array]:
        """Returns features [batch, channels], averaged over the last feature map, and logits [batch, classes]."""

        def features_and_logits(network: nn.Module, image: Array) -> tuple[Array, Array]:
            maps = network.features(image, train=False)  # type: ignore
            return maps.astype(jnp.float32).mean((1, 2)), network.classify(maps, train=False)  # type: ignore

        collections = {"params": params[GROUP], **variables.get(GROUP, {})}
        return nn.apply(features_and_logits, self.network)(collections, self.normalize(jnp.asarray(image)))


def score(records: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns FID and related metrics from the records of `FIDClassifier.records` of all examples.

    Returns:
      `fid`, `kid`, `precision`, `recall`; `fid_floor`, the FID between two halves of the real images, which a perfect
      generator of half as many images would reach; `classes`, the number of classes with at least 1% of the generated
      images; `class_entropy`, the entropy of the generated labels in nats.
    """
    from jaxdl.metrics.generation import frechet_distance, kernel_distance, precision_recall

    real, generated = records["real_features"], records["generated_features"]
    precision, recall = precision_recall(real, generated)
    shares = np.bincount(records["generated_label"]) / len(generated)
    positive = shares[shares > 0]
    return {
        "fid": frechet_distance(real, generated),
        "fid_floor": frechet_distance(real[::2], real[1::2]),
        "kid": kernel_distance(real, generated, subsets=20),
        "precision": precision,
        "recall": recall,
        "classes": float(np.sum(shares >= COVERED)),
        "class_entropy": float(-np.sum(positive * np.log(positive))),
    }
