"""How close texts are to their references: BLEU and chrF as sacrebleu computes them, ROUGE-L, exact match; and
whether code is code."""

import ast
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.errors import UserError, from_extra


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU (Papineni et al. 2002) of detokenized texts, 0 to 100, one reference each.

    sacrebleu's defaults (Post 2018, arXiv:1804.08771): its tokenizer 13a, case counts, 4-grams, exponential smoothing.

    Raises:
      UserError: no texts, or not one reference for each.
    """
    with from_extra("text", "BLEU"):
        import sacrebleu

    _check(hypotheses, references)
    # force: be silent about texts that look tokenized. Those of a small vocabulary do, and it changes nothing.
    return float(sacrebleu.corpus_bleu(hypotheses, [references], force=True).score)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus chrF2, the F-score of character 6-grams (Popović 2015, aclanthology.org/W15-3049), 0 to 100.

    Raises:
      UserError: no texts, or not one reference for each.
    """
    with from_extra("text", "chrF"):
        import sacrebleu

    _check(hypotheses, references)
    return float(sacrebleu.corpus_chrf(hypotheses, [references]).score)


def rouge_l(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Mean F-score of the longest common subsequence of words (Lin 2004, aclanthology.org/W04-1013), 0 to 100.

    rouge-score's, without stemming: letters and digits make words, case does not count.

    Raises:
      UserError: no texts, or not one reference for each.
    """
    with from_extra("text", "ROUGE-L"):
        from rouge_score.rouge_scorer import RougeScorer

    _check(hypotheses, references)
    scorer = RougeScorer(["rougeL"])
    scores = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in zip(hypotheses, references)]
    return 100.0 * float(np.mean(scores))


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The share of texts that equal their reference, 0 to 1.

    Raises:
      UserError: no texts, or not one reference for each.
    """
    _check(hypotheses, references)
    return float(np.mean([hypothesis == reference for hypothesis, reference in zip(hypotheses, references)]))


def python_parses(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The share of texts that are the body of a function in Python's grammar, 0 to 1; references do not matter.

    Raises:
      UserError: no texts, or not one reference for each.
    """
    _check(hypotheses, references)
    return float(np.mean([_python(text, ast.parse) for text in hypotheses]))


def python_compiles(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """As `python_parses`, but compiled: names and statements are where they may be, too. Nothing is run.

    Raises:
      UserError: no texts, or not one reference for each.
    """
    _check(hypotheses, references)
    return float(np.mean([_python(text, lambda code: compile(code, "body", "exec")) for text in hypotheses]))


def _python(body: str, read: Callable[[str], Any]) -> bool:
    if not body.strip():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of doubtful but valid code
            read("def function():\n" + textwrap.indent(body, "    "))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


METRICS: Mapping[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "bleu": bleu,
    "chrf": chrf,
    "rouge_l": rouge_l,
    "exact_match": exact_match,
    "python_parses": python_parses,
    "python_compiles": python_compiles,
}


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} texts and {len(references)} references: there must be one for each")
    if not hypotheses:
        raise UserError("there are no texts to score: is the split empty?")
