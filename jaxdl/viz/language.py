"""Text from token ids, and pictures of continuations and of classified texts."""

import textwrap
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.errors import UserError
from jaxdl.viz.figure import FAINT, FRAME, INK, WRONG, class_names, new_figure, pixel_axes, render, shorten

# Sizes in pixels: of the picture, of its margin, of a line of text. A line holds this many letters of 9 points.
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


def continuations(prompts: Sequence[str], written: Sequence[str]) -> np.ndarray:
    """The end of each prompt, pale, and below it what a model wrote next; the first 8.

    Args:
      prompts: [n] texts.
      written: [n] texts.

    Returns:
      uint8 [height, 900, 3].

    Raises:
      ValueError: no prompts, or not as many as texts.
    """
    if not prompts or len(prompts) != len(written):
        raise ValueError(f"continuations: {len(prompts)} prompts and {len(written)} texts")
    blocks = [
        (_lines(prompt, _LETTERS)[-_PROMPT_LINES:], _lines(text, _LETTERS)[:_CONTINUATION_LINES])
        for prompt, text in zip(prompts[:_PROMPTS], written[:_PROMPTS])
    ]
    height = sum(_LINE * (len(prompt) + len(text)) + 2 * _MARGIN for prompt, text in blocks)
    figure = new_figure(_WIDTH, height)
    axes = pixel_axes(figure)
    top = 0
    for prompt, text in blocks:
        top += _MARGIN
        for number, line in enumerate((*prompt, *text)):
            axes.text(_MARGIN, top, line, color=FAINT if number < len(prompt) else INK, **_FONT)
            top += _LINE
        top += _MARGIN
        axes.plot([0, _WIDTH], [top, top], color=FRAME, linewidth=0.8)
    return render(figure)


def labelled_texts(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray | None,
    predictions: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    names: Sequence[str],
) -> np.ndarray:
    """A table of texts with the predicted class and its probability; a wrong one has a cross and the true class.

    Args:
      texts: [n]; the first 16 are drawn, three lines of each.
      labels: [n] true classes, or None where they are not known.
      predictions: [n] predicted classes.
      probabilities: [n] of the predicted classes, in [0, 1].
      names: of the classes; a class without a name is shown by its number.

    Returns:
      uint8 [height, 900, 3].

    Raises:
      ValueError: no texts.
    """
    count = min(len(texts), _ROWS)
    if count == 0:
        raise ValueError("labelled_texts: there are no texts to draw")
    known = [*np.asarray(predictions), *(() if labels is None else np.asarray(labels))]
    names = class_names(names, max(len(names), int(max(known)) + 1))
    rows = [_shortened(_lines(text, _TEXT_LETTERS), _TEXT_LINES) for text in texts[:count]]
    heights = [_LINE * max(2, len(lines)) + _MARGIN for lines in rows]
    figure = new_figure(_WIDTH, sum(heights) + _MARGIN)
    axes = pixel_axes(figure)
    top, side = _MARGIN, 690
    for index, lines in enumerate(rows):
        for number, line in enumerate(lines):
            axes.text(_MARGIN, top + _LINE * number, line, color=INK, **_FONT)
        wrong = labels is not None and int(labels[index]) != int(predictions[index])
        percent = f"{100 * float(probabilities[index]):.0f}%"
        mark = "" if labels is None else "✗ " if wrong else "✓ "
        said = f"{mark}{shorten(names[int(predictions[index])], 16)} · {percent}"
        axes.text(side, top, said, color=WRONG if wrong else INK, **_FONT)
        if labels is not None and wrong:
            axes.text(side, top + _LINE, f"true: {shorten(names[int(labels[index])], 18)}", color=INK, **_FONT)
        top += heights[index]
        line_at = top - _MARGIN / 2 - 2
        axes.plot([0, _WIDTH], [line_at, line_at], color=FRAME, linewidth=0.8)
    return render(figure)


def _lines(text: str, letters: int) -> list[str]:
    """A text as lines of at most `letters`, with its own line breaks; one empty line if there is nothing."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        shown = "".join(letter if letter.isprintable() else " " for letter in paragraph)
        lines += textwrap.wrap(shown, letters, drop_whitespace=False) or [""]
    return lines or [""]


def _shortened(lines: list[str], most: int) -> list[str]:
    """The first lines; the last of them says that there are more."""
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][: _TEXT_LETTERS - 1] + "…"]
