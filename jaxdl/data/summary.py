"""Readable summary of loaded data: examples per class and skipped files."""

from collections.abc import Iterable

import numpy as np

from jaxdl.data.labels import Renumbered, renumber
from jaxdl.data.source import ColumnSource, ExampleSource, JoinedSource, Source, skipped_files

_CLASSES = 12  # largest number of classes that are listed one by one
_FILES = 3  # skipped files that are named


def summarize(role: str, source: Source) -> list[str]:
    """Returns one line on the examples of a source, and one on the files that it skipped, if any.

    Example: `train: 24 examples; cat: 12, dog: 12`.
    """
    lines = [f"{role}: {len(source):,} examples" + _classes(source)]
    if skipped := skipped_files(source):
        more = f" and {len(skipped) - _FILES} more, in manifest.json" if len(skipped) > _FILES else ""
        lines.append(f"{role}: skipped {len(skipped)} files: {', '.join(skipped[:_FILES])}{more}")
    return lines


def _classes(source: Source) -> str:
    labels = class_labels(source)
    names = source.names.get("label") or source.names.get("objects/label")
    if labels is None or not names or labels.min(initial=0) < 0:
        return ""
    counts = np.bincount(labels, minlength=len(names))[: len(names)].tolist()
    if len(names) <= _CLASSES:
        return "; " + ", ".join(f"{name}: {count}" for name, count in zip(names, counts))
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    return f"; {len(names)} classes, from {counts[least]} ({names[least]}) to {counts[most]} ({names[most]})"


def class_labels(source: Source) -> np.ndarray | None:
    """Returns the class of every example, or of every object, int [n]; None if that needs decoding the examples."""
    if isinstance(source, JoinedSource):
        return _concatenated(class_labels(part) for part in source.parts)
    if isinstance(source, Renumbered):
        labels, numbers = class_labels(source.source), source.numbers.get("label", source.numbers.get("objects/label"))
        return labels if labels is None or numbers is None else renumber(labels, numbers)
    if isinstance(source, ColumnSource):
        labels = source.columns.get("label")
        return labels if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu" else None
    if isinstance(source, ExampleSource) and hasattr(source.examples, "labels_of"):
        return source.examples.labels_of(np.asarray(source.rows))
    return None


def _concatenated(parts: Iterable[np.ndarray | None]) -> np.ndarray | None:
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays) if arrays else None
