"""Entity-level precision, recall and F1 (Tjong Kim Sang and De Meulder 2003)."""

from collections.abc import Sequence


def entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Parses the tags "B-type", "I-type" and "O" to (first word, end (exclusive), type).

    As in conlleval, an "I-" tag that does not continue an entity of its type begins one.

    Example: `entities(["B-person", "I-person", "O"]) == {(0, 2, "person")}`.
    """
    spans, start, kind = set(), 0, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            spans.add((start, position, kind))
            kind = ""
        if prefix in ("B", "I") and not kind:
            start, kind = position, name
    return spans


def entity_scores(found: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """Computes micro-averaged `precision`, `recall` and `f1` of entities.

    Span and type of an entity must match.

    Args:
      found, true: Predicted and true tags of each sentence.
    """
    predicted_count = correct = true_count = 0
    for predicted_tags, true_tags in zip(found, true):
        one, other = entities(predicted_tags), entities(true_tags)
        predicted_count, true_count, correct = (
            predicted_count + len(one),
            true_count + len(other),
            correct + len(one & other),
        )
    precision, recall = correct / max(predicted_count, 1), correct / max(true_count, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * correct / max(predicted_count + true_count, 1)}
