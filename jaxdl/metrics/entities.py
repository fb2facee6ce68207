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


def entity_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """Computes micro-averaged `precision`, `recall` and `f1` of entities.

    Span and type of an entity must match.

    Args:
      predicted, true: Tags of each sentence.
    """
    predicted_count = true_count = correct = 0
    for predicted_tags, true_tags in zip(predicted, true):
        predictions, truths = entities(predicted_tags), entities(true_tags)
        predicted_count += len(predictions)
        true_count += len(truths)
        correct += len(predictions & truths)
    precision, recall = correct / max(predicted_count, 1), correct / max(true_count, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * correct / max(predicted_count + true_count, 1)}
