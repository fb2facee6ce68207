"""Sources of examples: columns in memory, examples decoded one at a time, and their concatenation."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from jaxdl.errors import UserError, nearest

Batch = dict[str, np.ndarray]


class Source(Protocol):
    """Random access over the examples of one split.

    Attributes:
      fingerprint: SHA-256 in hexadecimal over what the examples are made of; two sources with the same fingerprint hold
        the same examples in the same order.
      names: what the numbers of a feature mean: class names, or a tokenizer; for example `{"label": ("cat", "dog")}`.
      in_memory: reading many examples at once is as cheap as a copy of them.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def names(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> Batch:
        """The examples at `indices` [examples], each feature with the leading axis [examples]."""
        ...


class Loadable(Protocol):
    """Anything that can be loaded: `Dataset`, `MockImages`, or a class of the user's own."""

    def load(self) -> Source: ...


@dataclass(frozen=True)
class ColumnSource:
    """Examples as columns in memory, or mapped into it.

    Attributes:
      columns: feature -> [examples, ...], all of the same length.
    """

    columns: Mapping[str, np.ndarray]
    fingerprint: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    in_memory: bool = True

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def read(self, indices: np.ndarray) -> Batch:
        return {name: column.take(indices, axis=0) for name, column in self.columns.items()}


@dataclass(frozen=True)
class ExampleSource:
    """Examples that are read and decoded one at a time.

    Attributes:
      examples: `examples[i]` is a dict of arrays, nested dicts allowed; their features are then named `outer/inner`.
      rows: [length] which of `examples` this source holds, in order: a range or an array of positions.
      features: the features to keep; empty: all.
    """

    examples: Any
    rows: Sequence[int] | np.ndarray
    fingerprint: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    in_memory: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: np.ndarray) -> Batch:
        """As `Source.read`; the examples asked for together must have equal shapes.

        Raises:
          UserError: their shapes differ.
        """
        return stack([self._example(int(index)) for index in indices])

    def _example(self, index: int) -> Batch:
        example = flatten(self.examples[int(self.rows[index])])
        if self.features:
            example = {name: example[name] for name in self.features}
        return {name: narrow(name, np.asarray(value)) for name, value in example.items()}


@dataclass(frozen=True)
class JoinedSource:
    """One source after the other."""

    parts: tuple[Source, ...]
    fingerprint: str

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return self.parts[0].names

    @property
    def in_memory(self) -> bool:
        return all(part.in_memory for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def read(self, indices: np.ndarray) -> Batch:
        indices = np.asarray(indices)
        starts = np.cumsum([0] + [len(part) for part in self.parts])
        owner = np.searchsorted(starts, indices, side="right") - 1
        pieces, order = [], []
        for number, part in enumerate(self.parts):
            where = np.flatnonzero(owner == number)
            if len(where):
                pieces.append(part.read(indices[where] - starts[number]))
                order.append(where)
        back = np.argsort(np.concatenate(order))
        joined = concatenate(pieces)
        return {name: value[back] for name, value in joined.items()}


def flatten(example: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with names `outer/inner`."""
    flat: dict[str, Any] = {}
    for name, value in example.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def narrow(name: str, array: np.ndarray) -> np.ndarray:
    """64-bit numbers as 32-bit ones, which is what devices compute with.

    Raises:
      UserError: an integer does not fit.
    """
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype not in (np.int64, np.uint64, np.uint32):
        return array
    limits = np.iinfo(np.int32)
    if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
        raise UserError(
            f"feature '{name}' holds integers beyond 32 bits; leave it out: Dataset(..., features=(...)) names the rest"
        )
    return array.astype(np.int32)


def stack(examples: Sequence[Batch]) -> Batch:
    """Examples as one batch with a leading axis.

    Raises:
      UserError: their shapes differ.
    """
    return {name: _joined(np.stack, name, [example[name] for example in examples], 0) for name in examples[0]}


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches as one, along the leading axis.

    Raises:
      UserError: the shapes of their examples differ.
    """
    if len(batches) == 1:
        return batches[0]
    return {name: _joined(np.concatenate, name, [batch[name] for batch in batches], 1) for name in batches[0]}


def _joined(join: Any, name: str, values: list[np.ndarray], first_axis: int) -> np.ndarray:
    shapes = {value.shape[first_axis:] for value in values}
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        raise UserError(
            f"feature '{name}' differs in shape between examples ({first} and {second}), so they make no batch; bring "
            "them to one shape, for images with RandomResizedCrop or ResizeCrop in Data.augment and .eval_transforms"
        )
    return join(values)


def read_columns(source: Source, features: Sequence[str]) -> dict[str, Sequence[Any] | np.ndarray]:
    """The values of `features` of all examples, in order, without the leading axis; shapes may differ.

    Examples that are decoded one at a time are read one at a time, and nothing else of them is kept.

    Raises:
      UserError: the examples have no such feature.
    """
    features = tuple(dict.fromkeys(features))
    if isinstance(source, JoinedSource):
        parts = [read_columns(part, features) for part in source.parts]
        return {name: [value for part in parts for value in part[name]] for name in features}
    if isinstance(source, ColumnSource):
        _check(source.columns, features)
        return {name: source.columns[name] for name in features}
    columns: dict[str, list[Any]] = {name: [] for name in features}
    if len(source):
        _check(source.read(np.array([0])), features)
    if isinstance(source, ExampleSource):
        source = dataclasses.replace(source, features=features)
    for number in range(len(source)):
        example = source.read(np.array([number]))
        for name in features:
            columns[name].append(example[name][0])
    return dict(columns)


def _check(example: Mapping[str, Any], features: Sequence[str]) -> None:
    for name in features:
        if name not in example:
            raise UserError(f"the examples of the corpus have no feature '{name}'; {nearest(name, example)}")


def read_texts(source: Source, features: Sequence[str]) -> dict[str, list[str]]:
    """As `read_columns`, for features that are text: bytes in UTF-8, or str.

    Raises:
      UserError: no such feature, or a value that is no text; the example is named.
    """
    columns = read_columns(source, features)
    return {name: as_texts(name, values) for name, values in columns.items()}


def as_texts(feature: str, values: Sequence[Any] | np.ndarray) -> list[str]:
    """Texts as str.

    Args:
      feature: its name, for the message.
      values: bytes in UTF-8, or str, one an example.

    Raises:
      UserError: a value is no text; the example, and the byte that is no UTF-8, are named.
    """
    return [_text(value, f"example {number} of the corpus, feature '{feature}'") for number, value in enumerate(values)]


def _text(value: Any, owner: str) -> str:
    value = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise UserError(f"{owner}: {type(value).__name__} is no text; name a feature that holds bytes or str")
    return as_text(value, owner)


def as_text(value: bytes, owner: str) -> str:
    """UTF-8 as str; `owner` is for the message.

    Raises:
      UserError: it is no UTF-8; the offset is named.
    """
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{owner} is no UTF-8 at byte {error.start}; bring the text to UTF-8, as with iconv") from None


def text_column(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes in UTF-8, object [texts]: an array of type S would be as wide as the longest one everywhere."""
    return np.array([text.encode() for text in texts], object)
