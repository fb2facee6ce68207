"""Presentation of image reconstruction."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.viz.anomaly import reconstruction_pairs
from jaxdl.viz.presentation import Presentation, valid_rows


class ReconstructionPresentation(Presentation):
    """Presentation of image reconstruction."""

    def pictures(
        self, batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Any, names: Any
    ) -> dict[str, np.ndarray]:
        """Returns `reconstructions`, up to 24 images beside their reconstructions."""
        rows = valid_rows(batch)
        pairs = (np.asarray(images)[rows] for images in (batch["image"], outputs["reconstruction"]))
        return {"reconstructions": reconstruction_pairs(*pairs)}

    def picture(self, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Any) -> np.ndarray:
        """Returns the image beside its reconstruction."""
        return reconstruction_pairs(np.asarray(example["image"])[None], np.asarray(outputs["reconstruction"])[None])

    def readable(self, example: Any, outputs: Mapping[str, Any], names: Any) -> dict[str, Any]:
        """Returns `mse` and `latents`, rounded to six significant digits."""
        return {
            "mse": float(f"{float(outputs['mse']):.6g}"),
            "latents": [float(f"{value:.6g}") for value in np.asarray(outputs["latents"])],
        }
