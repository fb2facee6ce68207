"""Text metrics: BLEU and chrF (sacrebleu), ROUGE-L, exact match and Python validity."""

import ast
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from jaxdl.errors import UserError, from_extra
from jaxdl.metrics.words import words


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes corpus BLEU (Papineni et al. 2002), 0 to 100.

    Texts are detokenized, with one reference each.

    sacrebleu's defaults (Post 2018, arXiv:1804.08771): tokenizer 13a, case-sensitive, 4-grams, exponential smoothing.

    Raises:
      UserError: There are no texts, or references differ in number.
    """
    with from_extra("text", "BLEU"):
        import sacrebleu

    _check(hypotheses, references)
    # force silences the warning about texts that look tokenized, as those of small vocabularies do.
    return float(sacrebleu.corpus_bleu(hypotheses, [references], force=True).score)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes corpus chrF2, 0 to 100.

    F-score of character 6-grams (Popović 2015, aclanthology.org/W15-3049).

    Raises:
      UserError: As `bleu`.
    """
    with from_extra("text", "chrF"):
        import sacrebleu

    _check(hypotheses, references)
    return float(sacrebleu.corpus_chrf(hypotheses, [references]).score)


def rouge_l(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes the mean ROUGE-L F-score (Lin 2004, aclanthology.org/W04-1013), 0 to 100.

    As rouge-score without stemming: case-insensitive words of letters and digits, in any script (see
    `jaxdl.metrics.words`).

    Raises:
      UserError: As `bleu`.
    """
    with from_extra("text", "ROUGE-L"):
        from rouge_score.rouge_scorer import RougeScorer

    _check(hypotheses, references)
    scorer = RougeScorer(["rougeL"], tokenizer=_Tokenizer())
    scores = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in zip(hypotheses, references)]
    return 100.0 * float(np.mean(scores))


class _Tokenizer:
    """Tokenizer of rouge-score for words of any script; its own drops all letters but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes the fraction of texts equal to their reference.

    Raises:
      UserError: As `bleu`.
    """
    _check(hypotheses, references)
    return float(np.mean([hypothesis == reference for hypothesis, reference in zip(hypotheses, references)]))


def edit_similarity(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes the mean similarity of texts and references, 0 to 1: 2 M / T for M matching of T characters.

    The measure of code completion in CodeXGLUE (arXiv:2102.04664), by `difflib.SequenceMatcher`.

    Raises:
      UserError: As `bleu`.
    """
    _check(hypotheses, references)
    matchers = (SequenceMatcher(None, *pair, autojunk=False) for pair in zip(hypotheses, references))
    return float(np.mean([matcher.ratio() for matcher in matchers]))


def python_parses(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes the fraction of texts that parse as a Python function body.

    References are ignored.

    Raises:
      UserError: As `bleu`.
    """
    _check(hypotheses, references)
    return float(np.mean([_python(text, ast.parse) for text in hypotheses]))


def python_compiles(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Computes the fraction of texts that compile as a Python function body.

    The code is not run, and references are ignored.

    Raises:
      UserError: As `bleu`.
    """
    _check(hypotheses, references)
    return float(np.mean([_python(text, lambda code: compile(code, "body", "exec")) for text in hypotheses]))


def _python(body: str, read: Callable[[str], Any]) -> bool:
    if not body.strip():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as SyntaxWarning for valid code
            read("def function():\n" + textwrap.indent(body, "    "))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


METRICS: Mapping[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "bleu": bleu,
    "chrf": chrf,
    "rouge_l": rouge_l,
    "exact_match": exact_match,
    "edit_similarity": edit_similarity,
    "python_parses": python_parses,
    "python_compiles": python_compiles,
}
# Packages of the extra "text" that metrics need.
PACKAGES: Mapping[str, str] = {"bleu": "sacrebleu", "chrf": "sacrebleu", "rouge_l": "rouge_score"}


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} texts and {len(references)} references; their numbers must be equal")
    if not hypotheses:
        raise UserError("there are no texts to score; check the split")
