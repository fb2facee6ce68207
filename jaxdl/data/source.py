"""Random-access sources of examples: columns in memory, decoded on access, or concatenated."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from jaxdl.data.image.files import Picture
from jaxdl.errors import UserError, nearest

Batch = dict[str, np.ndarray]


class Source(Protocol):
    """Random-access examples of one split.

    Attributes:
      fingerprint: SHA-256 of the content, in hexadecimal. Equal fingerprints imply equal examples in equal order.
      names: Class names or tokenizer of a feature, for example `{"label": ("cat", "dog")}`.
      in_memory: Whether a batch is read as cheaply as it is copied.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def names(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> Batch:
        """Returns the examples at `indices` [examples], each feature with leading axis [examples]."""
        ...


class Loadable(Protocol):
    """An object with `load`, such as `Dataset`, `MockImages` or a user's class."""

    def load(self) -> Source: ...


@dataclass(frozen=True)
class ColumnSource:
    """Examples as columns in memory or in a memory map.

    Attributes:
      columns: Arrays [examples, ...] by feature, all of the same length.
      skipped: Files that were not read, each with the reason.
    """

    columns: Mapping[str, np.ndarray]
    fingerprint: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    in_memory: bool = True
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def read(self, indices: np.ndarray) -> Batch:
        return {name: column.take(indices, axis=0) for name, column in self.columns.items()}


@dataclass(frozen=True)
class ExampleSource:
    """Examples that are read and decoded one at a time.

    Attributes:
      examples: Sequence of dicts of arrays and `Picture`. Nested features become `outer/inner`.
      rows: Positions in `examples` that this source holds, [length].
      features: Features to keep. Empty keeps all.
      skipped: Files that were not read, each with the reason.
    """

    examples: Any
    rows: Sequence[int] | np.ndarray
    fingerprint: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    in_memory: bool = False
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: np.ndarray) -> Batch:
        """Returns the stacked examples at `indices`.

        Raises:
          UserError: The examples differ in shape.
        """
        return stack([{name: _array(name, value) for name, value in self.example(i).items()} for i in indices])

    def example(self, index: int) -> dict[str, Any]:
        """Returns one example, each feature an array or a `Picture`."""
        example = flatten(self.examples[int(self.rows[index])])
        return {name: example[name] for name in self.features} if self.features else example


@dataclass(frozen=True)
class JoinedSource:
    """Concatenation of several sources."""

    parts: tuple[Source, ...]
    fingerprint: str

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return self.parts[0].names

    @property
    def in_memory(self) -> bool:
        return all(part.in_memory for part in self.parts)

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in skipped_files(part)))

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def locate(self, index: int) -> tuple[Source, int]:
        """Returns the part that has an example, and its index in that part."""
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)

    def read(self, indices: np.ndarray) -> Batch:
        indices = np.asarray(indices)
        starts = np.cumsum([0] + [len(part) for part in self.parts])
        owner = np.searchsorted(starts, indices, side="right") - 1
        batches, order = [], []
        for number, part in enumerate(self.parts):
            positions = np.flatnonzero(owner == number)
            if len(positions):
                batches.append(part.read(indices[positions] - starts[number]))
                order.append(positions)
        inverse = np.argsort(np.concatenate(order))
        joined = concatenate(batches)
        return {name: value[inverse] for name, value in joined.items()}


def read_pictures(source: Source, index: int) -> dict[str, Any]:
    """Reads one example as a batch of one, in which decoded images may be `Picture`, for `transforms.apply`."""
    if isinstance(source, JoinedSource):
        part, index = source.locate(index)
        return read_pictures(part, index)
    if not isinstance(source, ExampleSource):
        return source.read(np.array([index]))
    example = source.example(index)
    return {n: value if isinstance(value, Picture) else np.stack([_array(n, value)]) for n, value in example.items()}


def _array(name: str, value: Any) -> np.ndarray:
    return value.pixels() if isinstance(value, Picture) else narrow(name, np.asarray(value))


def skipped_files(source: Source) -> tuple[str, ...]:
    """Returns the files that a source did not read, each with the reason."""
    return getattr(source, "skipped", ())


def flatten(example: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested dicts; `{"a": {"b": x}}` becomes `{"a/b": x}`."""
    flat: dict[str, Any] = {}
    for name, value in example.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def narrow(name: str, array: np.ndarray) -> np.ndarray:
    """Casts 64-bit numbers to 32 bits, the precision of the devices.

    Raises:
      UserError: An integer exceeds 32 bits.
    """
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype not in (np.int64, np.uint64, np.uint32):
        return array
    limits = np.iinfo(np.int32)
    if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
        raise UserError(
            f"feature '{name}' has integers beyond 32 bits ({array.min()} to {array.max()}); omit it and list the "
            "others in Dataset(..., features=(...))"
        )
    return array.astype(np.int32)


def stack(examples: Sequence[Batch]) -> Batch:
    """Stacks examples along a new leading axis.

    Raises:
      UserError: The examples differ in shape.
    """
    return {name: _joined(np.stack, name, [example[name] for example in examples], 0) for name in examples[0]}


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Concatenates batches along the leading axis.

    Raises:
      UserError: The examples of the batches differ in shape.
    """
    if len(batches) == 1:
        return batches[0]
    return {name: _joined(np.concatenate, name, [batch[name] for batch in batches], 1) for name in batches[0]}


def _joined(join: Any, name: str, values: list[np.ndarray], first_axis: int) -> np.ndarray:
    shapes = {value.shape[first_axis:] for value in values}
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        raise UserError(
            f"feature '{name}' differs in shape between examples ({first} and {second}) and cannot be batched; resize "
            "images with RandomResizedCrop (Data.augment) and ResizeCrop (Data.eval_transforms) of "
            "jaxdl.data.image.resize"
        )
    return join(values)


def read_columns(source: Source, features: Sequence[str]) -> dict[str, Sequence[Any] | np.ndarray]:
    """Returns the values of `features` over all examples, in order, without a leading axis.

    Shapes may differ between examples. Decoded examples are read one at a time, and only `features` are kept.

    Raises:
      UserError: The examples lack a feature.
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
            raise UserError(f"the corpus has no feature '{name}'; {nearest(name, example)}")


def read_texts(source: Source, features: Sequence[str]) -> dict[str, list[str]]:
    """Returns text features of all examples as str.

    Raises:
      UserError: A feature is missing, or a value is neither str nor UTF-8 bytes.
    """
    columns = read_columns(source, features)
    return {name: as_texts(name, values) for name, values in columns.items()}


def as_texts(feature: str, values: Sequence[Any] | np.ndarray) -> list[str]:
    """Decodes a text feature to str.

    Args:
      feature: Name of the feature, for error messages.
      values: Texts as str or UTF-8 bytes, one per example.

    Raises:
      UserError: A value is neither str nor UTF-8 bytes.
    """
    return [_text(value, f"example {number} of the corpus, feature '{feature}'") for number, value in enumerate(values)]


def _text(value: Any, owner: str) -> str:
    value = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise UserError(f"{owner} is a {type(value).__name__}, not text; choose a feature of type bytes or str")
    return as_text(value, owner)


def as_text(value: bytes, owner: str) -> str:
    """Decodes UTF-8; `owner` names the text in error messages.

    Raises:
      UserError: The bytes are not UTF-8.
    """
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{owner} is not UTF-8 (byte {error.start}); convert it, for example with iconv") from None


def text_column(texts: Sequence[str]) -> np.ndarray:
    """Encodes texts as UTF-8 bytes, object [texts]; dtype S would pad all to the longest text."""
    return np.array([text.encode() for text in texts], object)
