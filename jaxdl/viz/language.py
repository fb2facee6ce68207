"""Text from token ids, and pictures of continuations and of classified texts."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.errors import UserError
from jaxdl.viz.figure import FAINT, FRAME, INK, WRONG, Picture, class_names, pixel_axes, render, shorten
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

# Pixels: width of the picture, margin, and line height; and letters per line at 9 points.
_WIDTH, _MARGIN, _LINE, _LETTERS = 900, 14, 16, 108
_FONT: dict[str, Any] = {"fontsize": 9, "family": "DejaVu Sans Mono", "va": "top", "parse_math": False}
_PROMPTS, _PROMPT_LINES, _CONTINUATION_LINES = 8, 3, 6
_ROWS, _TEXT_LETTERS, _TEXT_LINES = 16, 82, 3


@runtime_checkable
class Decoder(Protocol):
    """Tokenizer interface: the vocabulary's size, and text from ids."""

    def __len__(self) -> int: ...

    def decode(self, ids: Any) -> str: ...


def text_of(ids: np.ndarray, tokens: Sequence[str] | None) -> str:
    """Returns token ids [tokens] as text: decoded by a tokenizer, as names from a list, or as numbers."""
    if isinstance(tokens, Decoder):
        return tokens.decode(ids)
    if tokens:
        return " ".join(tokens[int(token)] if int(token) < len(tokens) else str(int(token)) for token in ids)
    return " ".join(str(int(token)) for token in ids)


def decode_texts(tokens: Any, length: Any, tokenizer: Any, unknown: str = "") -> list[str]:
    """Returns generated ids as texts without special tokens.

    Args:
      tokens: [examples, time].
      length: [examples], numbers of valid tokens.
      tokenizer: Tokenizer. Any other object: ids are joined as numbers.
      unknown: Replacement of <unknown>. By default it is dropped.

    Raises:
      UserError: An id outside the tokenizer's vocabulary.
    """
    rows = [np.asarray(row)[: int(count)] for row, count in zip(np.asarray(tokens), np.asarray(length))]
    if not isinstance(tokenizer, Decoder):
        return [" ".join(str(token) for token in row if token not in (PAD, START, END)) for row in rows]
    largest = max((int(row.max()) for row in rows if len(row)), default=0)
    if largest >= len(tokenizer):
        raise UserError(
            f"token {largest} is outside the vocabulary of {len(tokenizer)} tokens; set the model's vocabulary to"
            f" {len(tokenizer)}"
        )
    parts = [np.split(row, np.flatnonzero(row == UNKNOWN)) for row in rows]
    return [unknown.join(tokenizer.decode(part) for part in pieces).strip() for pieces in parts]


@dataclass(frozen=True)
class LanguageModellingPresentation(Presentation):
    """Presentation of language modelling.

    Attributes:
      stop: Strings before which continuations are cut.
    """

    text = "continuation"

    stop: tuple[str, ...] = ()

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `continuations`: prompts and the text that the model generates after them."""
        texts = [self.readable(take(batch, row), take(outputs, row), names) for row in valid_rows(batch)]
        return {"continuations": continuations([t["prompt"] for t in texts], [t["continuation"] for t in texts])}

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        tokenizer = names.get("tokens")
        text = text_of(np.asarray(outputs["continuation"]), tokenizer)
        ends = [place for string in self.stop if (place := text.find(string)) >= 0]
        return {
            "prompt": text_of(_prompt(example), tokenizer),
            "continuation": text[: min(ends)] if ends else text,
            "log_probability": float(outputs["log_probability"]),
        }


def _prompt(example: Mapping[str, Any]) -> np.ndarray:
    """Returns the prompt of one example without padding, int32 [tokens]."""
    tokens = np.asarray(example["tokens"])
    valid = np.flatnonzero(tokens != PAD)
    length = example["tokens_length"] if "tokens_length" in example else (valid[-1] + 1 if len(valid) else 0)
    return tokens[: int(length)]


def continuations(prompts: Sequence[str], written: Sequence[str]) -> Picture:
    """Draws prompts in gray with their continuations below.

    Args:
      prompts: [n] texts, of which the last three lines of the first 8 are drawn.
      written: [n] texts, the continuations.

    Raises:
      ValueError: Another number of continuations than prompts.
    """
    if not prompts or len(prompts) != len(written):
        raise ValueError(f"continuations: {len(prompts)} prompts but {len(written)} continuations")
    blocks = [
        (_lines(prompt, _LETTERS)[-_PROMPT_LINES:], _lines(text, _LETTERS)[:_CONTINUATION_LINES])
        for prompt, text in zip(prompts[:_PROMPTS], written[:_PROMPTS])
    ]
    height = sum(_LINE * (len(prompt) + len(text)) + 2 * _MARGIN for prompt, text in blocks)
    axes = pixel_axes(_WIDTH, height)
    top = 0
    for prompt, text in blocks:
        top += _MARGIN
        for number, line in enumerate((*prompt, *text)):
            axes.text(_MARGIN, top, line, color=FAINT if number < len(prompt) else INK, **_FONT)
            top += _LINE
        top += _MARGIN
        axes.plot([0, _WIDTH], [top, top], color=FRAME, linewidth=0.8)
    return render(axes)


def labelled_texts(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray | None,
    predictions: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    names: Sequence[str],
) -> Picture:
    """Draws a table of texts with predicted class and probability; errors have a cross and the true class.

    Args:
      texts: [n] texts, of which three lines of the first 16 are drawn.
      labels: [n] true classes. None: unknown.
      predictions, probabilities: [n] predicted classes, and their probabilities.
    """
    count = min(len(texts), _ROWS)
    if count == 0:
        raise ValueError("labelled_texts needs at least one text")
    known = [*np.asarray(predictions), *(() if labels is None else np.asarray(labels))]
    names = class_names(names, max(len(names), int(max(known)) + 1))
    rows = [_shortened(_lines(text, _TEXT_LETTERS), _TEXT_LINES) for text in texts[:count]]
    heights = [_LINE * max(2, len(lines)) + _MARGIN for lines in rows]
    axes = pixel_axes(_WIDTH, sum(heights) + _MARGIN)
    top, side = _MARGIN, 690
    for index, lines in enumerate(rows):
        for number, line in enumerate(lines):
            axes.text(_MARGIN, top + _LINE * number, line, color=INK, **_FONT)
        wrong = labels is not None and int(labels[index]) != int(predictions[index])
        percent = f"{100 * float(probabilities[index]):.0f}%"
        mark = "" if labels is None else "✗ " if wrong else "✓ "
        prediction = f"{mark}{shorten(names[int(predictions[index])], 16)} · {percent}"
        axes.text(side, top, prediction, color=WRONG if wrong else INK, **_FONT)
        if labels is not None and wrong:
            axes.text(side, top + _LINE, f"true: {shorten(names[int(labels[index])], 18)}", color=INK, **_FONT)
        top += heights[index]
        line_at = top - _MARGIN / 2 - 2
        axes.plot([0, _WIDTH], [line_at, line_at], color=FRAME, linewidth=0.8)
    return render(axes)


def _lines(text: str, letters: int) -> list[str]:
    """Returns a text as lines of at most `letters` characters; line breaks are kept, an empty text is one line."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        printable = "".join(letter if letter.isprintable() else " " for letter in paragraph)
        lines += textwrap.wrap(printable, letters, drop_whitespace=False) or [""]
    return lines or [""]


def _shortened(lines: list[str], limit: int) -> list[str]:
    """Returns the first `limit` lines; the last one ends with an ellipsis if lines are dropped."""
    return lines if len(lines) <= limit else [*lines[: limit - 1], lines[limit - 1][: _TEXT_LETTERS - 1] + "…"]
