"""Presentations of token classification and text editing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.metrics.entities import entities
from jaxdl.viz.language import text_of
from jaxdl.viz.presentation import Features, Pictures, Presentation, valid_rows
from jaxdl.viz.text import translation_table

INNER_SPACE = "\N{NO-BREAK SPACE}"  # replaces a space inside a word of an edited text
Names = Mapping[str, Sequence[str]]


class TokenClassificationPresentation(Presentation):
    """Presentation of token classification."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `entities`: up to 8 sentences with predicted and true entities in brackets."""
        columns: tuple[list[str], list[str], list[str]] = ([], [], [])
        for row in valid_rows(batch, 8):
            example = _example(batch, row)
            words = [word for word, _ in _tagged_words(example, example["label"], names)]
            columns[0].append(" ".join(words))
            for column, label in zip(columns[1:], (outputs["label"][row], example["label"])):
                column.append(_bracketed(_tagged_words(example, np.asarray(label), names)))
        return {"entities": translation_table(*columns)}

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        words = _tagged_words(example, np.asarray(outputs["label"]), names)
        return {"words": [word for word, _ in words], "tags": [tag for _, tag in words]}


class TextEditingPresentation(Presentation):
    """Presentation of text editing."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `edits`: up to 8 texts with predicted and true edit."""
        columns: tuple[list[str], list[str], list[str]] = ([], [], [])
        for row in valid_rows(batch, 8):
            example = _example(batch, row)
            for column, label in zip(
                columns, (np.ones_like(example["label"]), outputs["label"][row], example["label"])
            ):
                column.append(edited_text(example, label, names))
        return {"edits": translation_table(*columns)}

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        return {"edited": edited_text(example, outputs["label"], names)}


def edited_text(example: Mapping[str, Any], label: Any, names: Names) -> str:
    """Returns the words that are kept, separated by spaces.

    Args:
      example: One example: `tokens` [time], `tokens_length`, and `label` [time], -1 at tokens that do not begin a word.
      label: [time], positive at words that are kept.
      names: Contains the tokenizer of `tokens`.
    """
    spans, keep = _word_spans(example), np.asarray(label)
    words = [
        text_of(np.asarray(example["tokens"])[start:end], names.get("tokens"))
        for start, end in spans
        if keep[start] > 0
    ]
    return " ".join(word.strip(" ") for word in words).replace(INNER_SPACE, " ")


def label_name(label: Any, names: Names) -> str:
    """Returns the name of a label, its number if it has none."""
    known = names.get("label", ())
    return known[int(label)] if int(label) < len(known) else str(int(label))


def _example(batch: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Returns the tokens and labels of one row of a batch."""
    return {name: np.asarray(batch[name])[row] for name in ("tokens", "tokens_length", "label") if name in batch}


def _word_spans(example: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Returns start and end of each word in `tokens`."""
    starts = np.flatnonzero(np.asarray(example["label"]) >= 0).tolist()
    return list(zip(starts, [*starts[1:], int(example.get("tokens_length", len(example["tokens"])))]))


def _tagged_words(example: Mapping[str, Any], label: np.ndarray, names: Names) -> list[tuple[str, str]]:
    """Returns (word, label name) pairs of a sentence."""
    tokens = np.asarray(example["tokens"])
    return [
        (text_of(tokens[start:end], names.get("tokens")).strip(), label_name(label[start], names))
        for start, end in _word_spans(example)
    ]


def _bracketed(words: Sequence[tuple[str, str]]) -> str:
    """Returns a sentence whose entities are in brackets, with their type after them."""
    texts = [word for word, _ in words]
    for start, end, kind in entities([tag for _, tag in words]):
        texts[start] = f"[{texts[start]}"
        texts[end - 1] = f"{texts[end - 1]}]{kind}"
    return " ".join(texts)
