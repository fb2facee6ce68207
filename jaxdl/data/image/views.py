"""Pairs of random views of an image, for contrastive and other joint-embedding methods."""

from dataclasses import dataclass

from jaxdl.data.image.transforms import Transform, apply
from jaxdl.data.random import Draws
from jaxdl.data.source import Batch


@dataclass(frozen=True)
class TwoViews:
    """Two views as `image` and `positive`, with independent random numbers.

    Both are views of `image`, or, if the batch has `positive`, one of each.

    Attributes:
      transforms: Transforms of each view, in order.
    """

    transforms: tuple[Transform, ...]

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        originals = {"image": batch["image"], "positive": batch.get("positive", batch["image"])}
        views = {
            name: apply(self.transforms, {"image": image, "index": batch["index"]}, draws.fold(number))["image"]
            for number, (name, image) in enumerate(originals.items())
        }
        return batch | views
