"""Presentation of image reconstruction."""

from typing import Any

import numpy as np

from jaxdl.viz.anomaly import reconstruction_pairs
from jaxdl.viz.figure import Picture
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows


class ReconstructionPresentation(Presentation):
    """Presentation of image reconstruction."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `reconstructions`, up to 24 images beside their reconstructions."""
        shown = take({"image": batch["image"], "reconstruction": outputs["reconstruction"]}, valid_rows(batch))
        return {"reconstructions": reconstruction_pairs(shown["image"], shown["reconstruction"])}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the image beside its reconstruction."""
        return reconstruction_pairs(np.asarray(example["image"])[None], np.asarray(outputs["reconstruction"])[None])

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns `mse` and `latents`, rounded to six significant digits."""
        return {
            "mse": float(f"{float(outputs['mse']):.6g}"),
            "latents": [float(f"{value:.6g}") for value in np.asarray(outputs["latents"])],
        }
