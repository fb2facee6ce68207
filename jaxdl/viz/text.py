"""Presentations of text: translations, captions, masked tokens, and answers."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.viz.figure import (
    COLORS,
    FAINT,
    FRAME,
    INK,
    Picture,
    image_grid,
    pixel_axes,
    render,
    shorten,
    show_image,
    write,
)
from jaxdl.viz.language import decode_texts, text_of
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, valid_rows

# Pixels: line height, gap around a block, column of row names, and letter width at 10 points.
_LINE, _GAP, _SIDE, _LETTER = 19, 12, 90, 8.6
_WIDTH, _LINES = 900, 3
# Caption grid: height of an image's box, and its width by the number of columns.
_BOX, _BOXES = 200, {1: 360, 2: 300, 3: 280}
_EMPTY = "(nothing)"


class TranslationPresentation(Presentation):
    """Presentation of text-to-text generation."""

    text = "translation"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `translations`: up to 8 sources with output and reference."""
        rows = valid_rows(batch, 8)
        source, length = np.asarray(batch["source"])[rows], np.asarray(batch["source_length"])[rows]
        sources = decode_texts(source, length, names.get("source"))
        return {
            "translations": translation_table(sources, _outputs(outputs, names, rows), _targets(batch, names, rows))
        }

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        return {"translation": _output(outputs, names), "score": round(float(outputs["score"]), 4)}


class FunctionCallingPresentation(TranslationPresentation):
    """Presentation of function calling."""

    text = "call"

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        return {"call": _output(outputs, names), "score": round(float(outputs["score"]), 4)}


class CaptioningPresentation(Presentation):
    """Presentation of image captioning."""

    text = "caption"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `captions`: up to 12 images with caption and reference."""
        rows = valid_rows(batch, 12)
        images = np.asarray(batch["image"])[rows]
        return {"captions": caption_grid(images, _outputs(outputs, names, rows), _targets(batch, names, rows))}

    def picture(self, example: Features, outputs: Features, names: Names) -> Picture:
        """Returns the image with its caption below."""
        return caption_grid(np.asarray(example["image"])[None], [_output(outputs, names)])

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        return {"caption": _output(outputs, names), "score": round(float(outputs["score"]), 4)}


class MaskedLanguageModellingPresentation(Presentation):
    """Presentation of masked language modelling."""

    mask = "[MASK]"
    text = "text"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `texts`: up to 8 texts with the texts that the model predicts."""
        inputs, predicted = (
            [text_of(np.asarray(values)[row], names.get("tokens")) for row in valid_rows(batch, 8)]
            for values in (batch["tokens"], outputs["guess"])
        )
        return {"texts": translation_table(inputs, predicted)}

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        masked, guess = np.asarray(example["tokens"]) == UNKNOWN, np.asarray(outputs["guess"])
        return {
            "text": text_of(guess, names.get("tokens")),
            "guesses": [text_of(token, names.get("tokens")) for token in guess[masked][:, None]],
            "probabilities": [round(float(value), 4) for value in np.asarray(outputs["probability"])[masked]],
        }


class QuestionAnsweringPresentation(Presentation):
    """Presentation of extractive question answering."""

    text = "answer"

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `answers`: up to 8 questions with predicted and true answer."""
        columns: tuple[list[str], list[str], list[str]] = ([], [], [])
        for row in valid_rows(batch, 8):
            example = {"tokens": np.asarray(batch["tokens"])[row]}
            question = example["tokens"][1 : int(batch["begin"][row]) - 1]
            columns[0].append(text_of(question, names.get("tokens")).strip())
            for column, source in zip(columns[1:], (outputs, batch)):
                span = {name: source[name][row] for name in ("first", "last")}
                column.append(_answer(example, span, names))
        return {"answers": translation_table(*columns)}

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        return {"answer": _answer(example, outputs, names), "probability": float(outputs["probability"])}


def _answer(example: Mapping[str, Any], span: Mapping[str, Any], names: Names) -> str:
    """Returns the text from token `first` to token `last`."""
    tokens = np.asarray(example["tokens"])[int(span["first"]) : int(span["last"]) + 1]
    return text_of(tokens, names.get("tokens")).strip()


def _outputs(outputs: Mapping[str, Any], names: Names, rows: Any) -> list[str]:
    """Returns the decoded texts of `rows`."""
    return decode_texts(np.asarray(outputs["tokens"])[rows], np.asarray(outputs["length"])[rows], names.get("target"))


def _output(outputs: Mapping[str, Any], names: Names) -> str:
    """Returns the decoded text of one example."""
    return decode_texts(np.asarray(outputs["tokens"])[None], [outputs["length"]], names.get("target"))[0]


def _targets(batch: Mapping[str, Any], names: Names, rows: np.ndarray) -> list[str] | None:
    """Returns the references of `rows` as texts, None for user files, where they are absent or 0."""
    if "target_length" not in batch or not np.any(np.asarray(batch["target_length"])[rows]):
        return None
    return decode_texts(
        np.asarray(batch["target"])[rows], np.asarray(batch["target_length"])[rows], names.get("target")
    )


def translation_table(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[str] | None = None
) -> Picture:
    """Draws a table of sources, outputs and references; a tick marks outputs equal to their reference.

    Args:
      sources, outputs, references: [n] texts; the first 8 are drawn, each in at most three lines. References may be
        None.

    """
    count = min(len(sources), 8)
    if count == 0:
        raise ValueError("translation_table needs at least one text")
    letters = int((_WIDTH - _SIDE - 2 * _GAP) / _LETTER)
    blocks = []
    for index in range(count):
        rows = [("source", sources[index], FAINT), ("output", outputs[index], COLORS[0])]
        if references is not None:
            tick = " ✓" if references[index] == outputs[index] else ""
            rows.append((f"reference{tick}", references[index], INK))
        blocks.append([(name, wrap(text, letters), color) for name, text, color in rows])
    heights = [_LINE * sum(len(lines) for _, lines, _ in block) + _GAP for block in blocks]
    axes = pixel_axes(_WIDTH, sum(heights) + _GAP)
    top = _GAP
    for block, height in zip(blocks, heights):
        y = top + 0.7 * _LINE
        for name, lines, color in block:
            write(axes, name, _GAP, y, color=FAINT, vertical="baseline")
            for line in lines:
                write(axes, line, _GAP + _SIDE, y, 10, color, vertical="baseline")
                y += _LINE
        top += height
        axes.plot([_GAP, _WIDTH - _GAP], [top - _GAP / 2 - 1] * 2, color=FRAME, linewidth=0.8)
    return render(axes)


def caption_grid(images: np.ndarray, captions: Sequence[str], references: Sequence[str] | None = None) -> Picture:
    """Draws images with captions below, and references in gray below the captions.

    Args:
      images: [n, height, width, 1 or 3], uint8, or float in [0, 1], of which the first 12 are drawn.
      captions, references: [n] texts, each drawn in at most three lines. References may be None.

    """
    count = min(len(images), 12)
    box = _BOXES[min(max(count, 1), 3)]
    letters = int(box / _LETTER)
    texts = [
        [(line, INK) for line in wrap(captions[index], letters)]
        + [(line, FAINT) for line in (wrap(references[index], letters) if references is not None else [])]
        for index in range(count)
    ]
    caption = _GAP + _LINE * max(map(len, texts), default=0)
    axes, corners = image_grid(count, 3, box, _BOX, _GAP, caption=caption)
    for image, lines, (left, top) in zip(images, texts, corners):
        show_image(axes, image, left, top, box, _BOX)
        for number, (line, color) in enumerate(lines):
            y = top + _BOX + _GAP / 2 + _LINE * (number + 0.7)
            write(axes, line, left + box / 2, y, 10, color, "center", "baseline")
    return render(axes)


def wrap(text: str, letters: int) -> list[str]:
    """Returns `text` in one to three lines of at most `letters` characters; an ellipsis marks a truncated text."""
    text = " ".join(text.split()) or _EMPTY
    lines = textwrap.wrap(text, letters)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], shorten(" ".join(lines[_LINES - 1 :]), letters)]
    return lines
