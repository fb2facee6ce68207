"""Inputs of a trained model from files, arrays and texts, preprocessed as in its evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.dataset import Data, evaluations, origin
from jaxdl.data.image.files import Framed, find_images
from jaxdl.data.image.preprocessing import ImagePreprocessing
from jaxdl.data.pipeline import transformed
from jaxdl.data.text.masking import MaskingTokenizer
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError


class Example(NamedTuple):
    """Example to predict for.

    Attributes:
      name: Its file, its text, or its number.
      example: Its features.
      framed: How an image was brought to the model's size; None for other data.
    """

    name: str
    example: Mapping[str, np.ndarray]
    framed: Framed | None


class Inputs:
    """Reader of the inputs of a run.

    Args:
      path: Name of the run in error messages.
      data: Data settings of the run.
      record: Record of its checkpoint, with the shapes of training (`batch`) and evaluation (`evaluated`) examples.
      framing: `Presentation.framing` of its task.
      names: Class names and tokenizers by feature.
      mask: Text of a masked token, `Presentation.mask`.
    """

    def __init__(
        self,
        path: str,
        data: Data,
        record: Mapping[str, Any],
        framing: str | None,
        names: Mapping[str, Any],
        mask: str | None = None,
    ):
        self._path, self._data = path, data
        tokenizer = names.get("tokens")
        if mask is not None and isinstance(tokenizer, Tokenizer):
            names = {**names, "tokens": MaskingTokenizer(tokenizer, mask)}
        self._names = names
        self._spec, self._evaluated = record["batch"], record.get("evaluated", {})
        self._framing = framing
        # Evaluation may read other data than training, such as unpacked pairs.
        self._reader: Any = next(iter([*evaluations(data).values(), data.train]))

    def read(self, files: Sequence[str | np.ndarray], texts: Sequence[str]) -> list[Example]:
        """Reads files, arrays of images or texts.

        Raises:
          UserError: A file cannot be read, or the model does not take such data.
        """
        arrays = [file for file in files if isinstance(file, np.ndarray)]
        paths = [file for file in files if not isinstance(file, np.ndarray)]
        if sum(map(bool, (arrays, paths, texts))) > 1 and not hasattr(self._reader, "read"):
            raise UserError("predict takes either files, arrays or texts")
        if hasattr(self._reader, "read"):
            if arrays:
                raise UserError(f"{self._path} does not take arrays; pass files or texts")
            named = self._reader.read(paths, texts, self._names)
            return [Example(name, self._evaluation(example, row), None) for row, (name, example) in enumerate(named)]
        if texts:
            raise UserError(f"{self._path} does not take texts: its batches have {', '.join(sorted(self._spec))}")
        preprocess = self.images()
        sources = list(enumerate(arrays)) if arrays else [(file, file) for file in find_images(paths)]
        framed = [(str(name), preprocess(source, row)) for row, (name, source) in enumerate(sources)]
        return [Example(name, {"image": one.image}, one) for name, one in framed]

    def images(self) -> ImagePreprocessing:
        """Returns the preprocessing of images.

        Raises:
          UserError: The model does not take images.
        """
        if "image" not in self._spec:
            raise UserError(f"{self._path} does not take images: its batches have {', '.join(sorted(self._spec))}")
        if self._framing is None:
            raise UserError(f"{self._path} does not take images; it is an unconditional generator, use --samples=16")
        (height, width, channels), _ = self._spec["image"]
        evaluated = dict.fromkeys(tuple(spec["image"][0]) for spec in self._evaluated.values() if "image" in spec)
        transforms = tuple(self._data.eval_transforms)
        scale = getattr(origin(self._reader), "scale", None)
        return ImagePreprocessing(transforms, (height, width, channels), self._framing, tuple(evaluated), scale)

    def describe(self) -> dict[str, Any]:
        """Returns JSON of the preprocessing for programs outside jaxdl.

        `image`: see `ImagePreprocessing.describe`. `reader`: the class that reads other data, with its settings.
        """
        if not hasattr(self._reader, "read"):
            takes_images = "image" in self._spec and self._framing is not None
            return {"image": self.images().describe()} if takes_images else {}
        kind = type(self._reader)
        fields = {name: value for name, value in vars(self._reader).items() if _is_plain(value)}
        scaling = {name: list(values) for name, values in self._names.items() if name.startswith("features")}
        return {"reader": f"{kind.__module__}.{kind.__qualname__}", "settings": fields, **scaling}

    @property
    def evaluated_images(self) -> dict[str, Any]:
        """Shape and type of the images of evaluation, {} if there are none or they are those of training."""
        specs = [spec["image"] for spec in self._evaluated.values() if "image" in spec]
        return {"image": specs[0]} if specs and "image" in self._spec else {}

    def _evaluation(self, example: Mapping[str, np.ndarray], row: int) -> Mapping[str, np.ndarray]:
        """Applies the transforms of evaluation to an example that the data read."""
        if not self._data.eval_transforms:
            return example
        index = np.array([row], np.int32)
        batch = {name: np.asarray(value)[None] for name, value in example.items()} | {"index": index}
        return {
            name: value[0]
            for name, value in transformed(self._data.eval_transforms, batch, index).items()
            if name != "index"
        }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
