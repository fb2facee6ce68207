"""Preprocessing of image files for a trained model, as its evaluation applied it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.image import files
from jaxdl.data.image.files import Framed
from jaxdl.data.image.resize import ResizeCrop, ResizePad
from jaxdl.data.image.transforms import Transform
from jaxdl.data.pipeline import transformed
from jaxdl.data.source import Batch
from jaxdl.errors import UserError

_PROBE = 1 / 16  # side of the boxes that follow the transforms, as a fraction of the image's shorter side


@dataclass(frozen=True)
class ImagePreprocessing:
    """Conversion of image files and arrays of any size to inputs of a trained model.

    The transforms of evaluation are applied first, so a file of an evaluation split becomes exactly the image that
    evaluation scored. If they leave a size that the model was neither trained nor evaluated on, the image is framed.

    Attributes:
      transforms: `Data.eval_transforms` of the run. Transforms of labels (`only_labels`) are skipped.
      shape: (height, width, channels) of the images of training.
      framing: Framing of other sizes: "crop", "pad" or "keep", see `jaxdl.data.image.files.frame`.
      evaluated: Shapes (height, width, channels) of the images of evaluation.
      scale: Values of the files that become 0 and 255, see `jaxdl.data.image.files.decode`.
    """

    transforms: tuple[Transform, ...]
    shape: tuple[int, int, int]
    framing: str
    evaluated: tuple[tuple[int, int, int], ...] = ()
    scale: tuple[float, float] | None = None

    def __call__(self, source: str | Path | np.ndarray, number: int = 0) -> Framed:
        """Returns the input of one image.

        Args:
          source: Image file, or uint8 [height, width] or [height, width, channels].
          number: Number of the image, on which random transforms depend.

        Raises:
          UserError: The image cannot be read, or a transform fails without labels.
        """
        image = files.read_image(source, self.shape[-1], self.scale)
        changed = self._transformed({"image": image[None]}, number)["image"][0]
        scale, offset = self._placement(image, number)
        if not self._is_input(changed.shape, image, number):
            framed = files.frame(changed, self.shape, self.framing)
            scale = tuple(outer * inner for outer, inner in zip(framed.scale, scale))
            offset = tuple(place * size + by for place, size, by in zip(offset, framed.scale, framed.offset))
            changed = framed.image
        return Framed(changed, image, scale, offset)

    def describe(self) -> Mapping[str, Any] | None:
        """Returns JSON of the preprocessing for programs outside jaxdl; None if a transform has no description.

        `steps` are `{"resize_crop": [resize, size]}` and `{"resize_pad": [height, width]}`. Without them, `{"crop":
        [height, width]}` or `{"pad": [height, width]}` frames other sizes, and `{"keep": [height, width]}` takes no
        others. The other entries are those of `jaxdl.data.image.files.describe_decoding`.
        """
        steps: list[Mapping[str, Any]] = []
        for transform in self._active:
            if isinstance(transform, ResizeCrop):
                steps.append({"resize_crop": [transform.resize, transform.size]})
            elif isinstance(transform, ResizePad):
                steps.append({"resize_pad": [transform.height, transform.width]})
            else:
                return None
        steps += [] if steps else [{self.framing: list(self.input_shape[:2])}]
        channels = self.shape[-1]
        decoding = files.describe_decoding(channels, self.scale)
        return {"channels": channels, "dtype": "uint8", **decoding, "steps": steps}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of the images of evaluation, or of training if it is unknown."""
        return next(iter(self.evaluated), self.shape)

    @property
    def _active(self) -> list[Transform]:
        return [transform for transform in self.transforms if not _only_labels(transform)]

    def _transformed(self, batch: Batch, number: int) -> Batch:
        # Skipped transforms stay in the list, because the random numbers of a transform depend on its place.
        transforms = [_unchanged if _only_labels(transform) else transform for transform in self.transforms]
        batch = batch | {"index": np.array([number], np.int32)}
        for place, transform in enumerate(transforms):
            try:
                batch = transformed([_unchanged] * place + [transform], batch, batch["index"])
            except KeyError as error:
                raise UserError(
                    f"data.eval_transforms[{place}] reads the feature {error}, which image files do not have; set "
                    "only_labels = True in it if it changes labels only"
                ) from error
        return batch

    def _placement(self, image: np.ndarray, number: int) -> tuple[Any, Any]:
        """Returns (scale, offset) of the transforms, found by the boxes that they move."""
        if not self._active or self.framing == "crop":  # outputs of tasks that crop are not in pixels of the image
            return (1.0, 1.0), (0.0, 0.0)
        center, side = np.array(image.shape[:2]) / 2, _PROBE * min(image.shape[:2])
        corners = np.array([[center - side, center], [center, center + side]]).reshape(1, 2, 4)
        probe = {"boxes": corners.astype(np.float32), "box_label": np.zeros((1, 2), np.int32)}
        probe |= {"box_weight": np.ones((1, 2), np.float32)}
        moved = self._transformed({"image": image[None], **probe}, number)
        if not np.all(moved["box_weight"]):
            raise UserError(
                "data.eval_transforms remove the center of the image; predictions have no place in the file"
            )
        before, after = (boxes[0].reshape(2, 2, 2).mean(1) for boxes in (corners, moved["boxes"].astype(np.float64)))
        scale = (after[1] - after[0]) / (before[1] - before[0])
        return tuple(scale.tolist()), tuple((after[0] - scale * before[0]).tolist())

    def _is_input(self, shape: Sequence[int], image: np.ndarray, number: int) -> bool:
        """Returns whether images of `shape` are inputs: known sizes, and sizes that the transforms fix."""
        if tuple(shape) in (self.shape, *self.evaluated):
            return True
        if not self._active:
            return False
        larger = np.zeros((1, 2 * image.shape[0] + 3, 2 * image.shape[1] + 5, image.shape[2]), np.uint8)
        return self._transformed({"image": larger}, number)["image"].shape[1:] == tuple(shape)


def _only_labels(transform: Transform) -> bool:
    return bool(getattr(transform, "only_labels", False))


def _unchanged(batch: Batch, draws: Any) -> Batch:
    return batch
