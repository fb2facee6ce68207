"""Class numbers of evaluation data, by the class names of training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.data.image.geometry import UNLABELLED
from jaxdl.data.source import Batch, Source, skipped_files
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError

# Features whose values are indices into class names. `Objects` turns `objects/label` into `box_label`.
_FEATURES = {"label": ("label",), "objects/label": ("objects/label", "box_label"), "mask": ("mask",)}


@dataclass(frozen=True)
class Renumbered:
    """Source whose classes are renumbered.

    Attributes:
      source: Original source.
      numbers: New number of each class by feature, int32 [classes].
    """

    source: Source
    numbers: Mapping[str, np.ndarray]
    fingerprint: str
    names: Mapping[str, Sequence[str]]

    @property
    def in_memory(self) -> bool:
        return self.source.in_memory

    @property
    def skipped(self) -> tuple[str, ...]:
        return skipped_files(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: np.ndarray) -> Batch:
        batch = self.source.read(indices)
        for feature, numbers in self.numbers.items():
            if feature in batch:
                batch[feature] = renumber(batch[feature], numbers)
        return batch


def align(source: Source, trained: Mapping[str, Any], role: str) -> Source:
    """Renumbers the classes of evaluation data by the class names of training.

    Args:
      source: Evaluation data.
      trained: Names of the training data by feature.
      role: Name of the evaluation, for error messages.

    Returns:
      The source itself if its names are those of training.

    Raises:
      UserError: The evaluation data have a class that the training data lack.
    """
    numbers, names = {}, dict(source.names)
    for feature, names_of_feature in _FEATURES.items():
        classes, reference = source.names.get(feature), trained.get(feature)
        if not classes or not reference or tuple(classes) == tuple(reference):
            continue
        classes, reference = list(map(str, classes)), list(map(str, reference))
        foreign = [name for name in classes if name not in reference]
        if foreign:
            raise UserError(
                f"'{role}' has the class '{foreign[0]}' in '{feature}', which training lacks (its classes: "
                f"{_listed(reference)}); name the classes alike, or remove the examples"
            )
        if len(set(reference)) < len(reference) or len(set(classes)) < len(classes):
            raise UserError(f"'{role}' and training differ in '{feature}' and repeat a class name; make them unique")
        numbers[feature] = np.array([reference.index(name) for name in classes], np.int32)
        names |= dict.fromkeys(names_of_feature, tuple(reference))
    if not numbers:
        return source
    changes = {feature: values.tolist() for feature, values in numbers.items()}
    return Renumbered(source, numbers, digest_of([source.fingerprint, changes]), names)


def renumber(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Maps class numbers; negative ones and 255 of masks (unlabelled) are kept."""
    known = (values >= 0) & (values < len(numbers)) & ((values != UNLABELLED) | (values.dtype != np.uint8))
    return np.where(known, numbers[np.where(known, values, 0)], values).astype(values.dtype)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
