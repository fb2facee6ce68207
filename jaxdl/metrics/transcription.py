"""Character and word error rates, computed by jiwer."""

from collections.abc import Sequence

from jaxdl.errors import from_extra


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, float]:
    """Computes `cer` and `wer`: total edit distance over total reference length.

    White space is normalized; case and punctuation count. A rate can exceed 1.

    Args:
      references: True transcripts.
      hypotheses: Recognized transcripts, one per reference.

    Raises:
      ValueError: The numbers differ, or the references have no words.
    """
    with from_extra("speech", "The word error rate"):
        import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses; their numbers must be equal")
    truths, predictions = ([" ".join(text.split()) for text in texts] for texts in (references, hypotheses))
    if not any(truths):
        raise ValueError("the references have no words, so error rates are undefined")
    return {"cer": float(jiwer.cer(truths, predictions)), "wer": float(jiwer.wer(truths, predictions))}
