"""Named entities: precision, recall and F1 of whole entities (Tjong Kim Sang and De Meulder 2003, arXiv:cs/0306050)."""

from collections.abc import Sequence


def entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """(first word, one after the last, type) of what tags "B-type", "I-type" and "O" mark.

    An "I-" that goes on with nothing of its type begins an entity, as conlleval has it.
    """
    found, start, kind = set(), 0, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            found.add((start, place, kind))
            kind = ""
        if prefix in ("B", "I") and not kind:
            start, kind = place, name
    return found


def entity_scores(found: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """`precision`, `recall` and `f1` over all sentences together; an entity counts if place and type are right.

    Args:
      found, true: tags of each sentence's words.
    """
    made = right = there = 0
    for mine, theirs in zip(found, true):
        one, other = entities(mine), entities(theirs)
        made, there, right = made + len(one), there + len(other), right + len(one & other)
    precision, recall = right / max(made, 1), right / max(there, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * right / max(made + there, 1)}
