"""Pictures of latent spaces: reconstructions, samples, interpolations, traversals, a map of two latents.

Images are uint8 [..., height, width, 1 or 3].
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.viz.figure import FAINT, Picture, pixel_axes, render, show_image, write
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

SHOWN = 24  # examples of which pictures are made
MAP = 16  # rows and columns of the map of two latents
REACH = 2.5  # range of traversals, in standard deviations on either side of 0
# In pixels: approximate size of an image (small images are enlarged), width of a letter, height of a line of text.
_CELL, _LETTER, _LINE = 56, 7, 24
_COLUMNS = 12


def image_table(
    images: np.ndarray, title: str, rows: Sequence[str] = (), columns: Sequence[str] = (), gap: int = 2
) -> Picture:
    """Draws a table of images under a title.

    Args:
      images: [rows, columns, height, width, 1 or 3].
      rows: Row labels on the left. Empty: none.
      columns: Column labels below; "" omits one.
      gap: Space between images, in pixels of the images.

    Raises:
      ValueError: No images, or another number of axes.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.size == 0:
        raise ValueError(
            f"image_table: images have shape {list(images.shape)}, not [rows, columns, height, width, 1|3]"
        )
    count, across, height, width, channels = images.shape
    tiles = np.full((count, across, height + gap, width + gap, channels), 255, images.dtype)
    tiles[:, :, :height, :width] = images
    canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(count * (height + gap), across * (width + gap), channels)
    scale = max(1, round(_CELL / max(height, width)))
    left = 8 + _LETTER * max((len(name) for name in rows), default=0)
    box = (canvas.shape[1] * scale, canvas.shape[0] * scale)
    total = max(left + box[0] + 8, 16 + _LETTER * len(title))
    axes = pixel_axes(total, _LINE + 8 + box[1] + (_LINE if columns else 0))
    write(axes, title, 8, _LINE / 2 + 2, 10)
    show_image(axes, canvas, left, _LINE + 4, *box)
    for row, name in enumerate(rows[:count]):
        y = _LINE + 4 + scale * (row * (height + gap) + height / 2)
        write(axes, name, left - 6, y, 8.5, FAINT, "right")
    for column, name in enumerate(columns[:across]):
        x, y = left + scale * (column * (width + gap) + width / 2), _LINE + 8 + box[1]
        write(axes, name, x, y, 8.5, FAINT, "center", "top")
    return render(axes)


def rows_of_images(rows: Mapping[str, np.ndarray], title: str = "Reconstructions") -> Picture:
    """Draws one labeled row per entry, of images [n, height, width, 1 or 3]; the first 12 of each."""
    return image_table(np.stack([np.asarray(images)[:_COLUMNS] for images in rows.values()]), title, rows=list(rows))


def samples(images: np.ndarray) -> Picture:
    """Draws images [n, height, width, 1 or 3] from the prior in about three columns per two rows, padded with black."""
    columns = max(1, math.ceil(math.sqrt(1.5 * len(images))))
    rows = math.ceil(len(images) / columns)
    filled = np.zeros((rows * columns, *images.shape[1:]), images.dtype)
    filled[: len(images)] = images
    return image_table(filled.reshape(rows, columns, *images.shape[1:]), "Samples from the prior")


def traversals(images: np.ndarray, reach: float) -> Picture:
    """Draws images [n, steps, height, width, 1 or 3], in each row one latent from -reach to reach; the first 12."""
    steps = [f"{value:+.1f}" for value in np.linspace(-reach, reach, images.shape[1])]
    names = [f"{number}." for number in range(1, min(12, len(images)) + 1)]
    title = "Latent traversals in standard deviations, latents by decreasing KL"
    return image_table(images[:12], title, rows=names, columns=steps)


def latent_map(images: np.ndarray, reach: float) -> Picture:
    """Draws images [rows, columns, height, width, 1 or 3] of two latents on a grid over -reach to reach."""
    steps = [f"{value:+.1f}" for value in np.linspace(-reach, reach, images.shape[1])]
    sparse = [step if index % 5 == 0 else "" for index, step in enumerate(steps)]
    title = "The two latents of largest KL: the first from left to right, the second from top to bottom"
    return image_table(images, title, rows=sparse[: len(images)], columns=sparse, gap=0)


class _ObservedPresentation(Presentation):
    """Presentation of one example: the observed image and its reconstruction."""

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the observed image above its reconstruction."""
        rows = {"observed": outputs["observed"], "reconstruction": outputs["reconstruction"]}
        return rows_of_images({name: np.asarray(image)[None] for name, image in rows.items()})


class VariationalAutoencoderPresentation(_ObservedPresentation):
    """Presentation of variational autoencoders."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `reconstructions`, `samples`, `interpolation`, `traversal` and `latent_map`."""
        rows = valid_rows(batch, SHOWN)
        images, outputs = take({"image": batch["image"]}, rows), take(outputs, rows)
        rows = images | {name: outputs[name] for name in ("observed", "reconstruction")}
        return {
            "reconstructions": rows_of_images(rows),
            "samples": samples(outputs["sample"]),
            "interpolation": image_table(
                outputs["interpolation"][:8], "Linear interpolation of the latents between two examples"
            ),
            "traversal": traversals(outputs["traversal"], REACH),
            "latent_map": latent_map(outputs["latent_map"][:MAP], REACH),
        }

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns the `label` of conditional models, the `loss` in nats and the `latents`."""
        row = {"loss": float(outputs["loss"]), "latents": np.asarray(outputs["latents"]).tolist()}
        label = int(outputs.get("label", -1))
        return row if label < 0 else {"label": names["label"][label] if "label" in names else label, **row}


class VectorQuantizationPresentation(_ObservedPresentation):
    """Presentation of VQ-VAEs.

    Args:
      codes: Size of the codebook.
    """

    def __init__(self, codes: int):
        self.codes = codes

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `reconstructions`: up to 12 images, their codes as gray values, and the reconstructions."""
        shown = take({"image": batch["image"], **outputs}, valid_rows(batch, SHOWN))
        image, codes = shown["image"], shown["codes"]
        height, width = image.shape[1] // codes.shape[1], image.shape[2] // codes.shape[2]
        gray = (codes * (255 // max(self.codes - 1, 1))).clip(0, 255).astype(np.uint8)
        maps = np.broadcast_to(gray.repeat(height, 1).repeat(width, 2)[..., None], image.shape)
        rows = {"observed": shown["observed"], "codes": maps, "reconstruction": shown["reconstruction"]}
        return {"reconstructions": rows_of_images(rows)}

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns the map of `codes`."""
        return {"codes": np.asarray(outputs["codes"]).tolist()}
