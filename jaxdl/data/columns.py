"""All examples of a source, feature by feature: how loadables read the corpus that they are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.source import ColumnSource, ExampleSource, JoinedSource, Source
from jaxdl.errors import UserError, nearest


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
