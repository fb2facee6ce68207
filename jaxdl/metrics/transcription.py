"""Character and word error rates of transcripts, computed by jiwer."""

from collections.abc import Sequence

from jaxdl.errors import from_extra


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, float]:
    """`cer` and `wer`: edits (substitutions, deletions and insertions) of all texts, by the length of all references.

    Edits are the fewest that make each hypothesis of its reference, in characters and in words. Both are taken as they
    are, but for white space, which counts as one space between words and as nothing at the ends. A rate can be above 1.

    Args:
      references: what was said.
      hypotheses: what was recognized, one for each reference.

    Raises:
      ValueError: another number of one than of the other, or references without a single word.
    """
    with from_extra("speech", "The word error rate"):
        import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses")
    spoken, heard = ([" ".join(text.split()) for text in texts] for texts in (references, hypotheses))
    if not any(spoken):
        raise ValueError("there is no word in the references, so there is no error rate")
    return {"cer": float(jiwer.cer(spoken, heard)), "wer": float(jiwer.wer(spoken, heard))}
