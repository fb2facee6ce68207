"""Metrics of function calls as JSON."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.errors import UserError


def call_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes the fraction of texts that parse to the same JSON value as their reference.

    The order of an object's members does not matter.

    Raises:
      UserError: There are no texts, or references differ in number.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} texts and {len(references)} references; pass equal numbers, at least 1")
    return float(np.mean([_value(one) == _value(other, other) for one, other in zip(hypotheses, references)]))


def valid_calls(hypotheses: Sequence[str], pattern: str) -> float:
    """Computes the fraction of texts that match a regular expression of Python's `re` as a whole and parse as JSON."""
    compiled = re.compile(pattern)
    return float(np.mean([bool(compiled.fullmatch(text)) and _value(text) is not None for text in hypotheses]))


def _value(text: str, default: Any = None) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return default
