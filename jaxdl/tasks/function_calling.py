"""Function calling: commands to JSON calls by constrained decoding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxdl.decoding.grammar import Grammar, TokenAutomaton
from jaxdl.errors import UserError
from jaxdl.metrics.calls import call_match, valid_calls
from jaxdl.tasks.parts.seq2seq import UNKNOWN_REFERENCE
from jaxdl.tasks.translation import Translation
from jaxdl.training.task import Names
from jaxdl.viz.language import decode_texts
from jaxdl.viz.presentation import Presentation
from jaxdl.viz.text import FunctionCallingPresentation


@dataclass(frozen=True, eq=False)
class FunctionCalling(Translation):
    """Translation of commands to function calls as JSON, decoded within a grammar (arXiv:2307.09702).

    Every output matches the grammar, whatever the model predicts. Training does not use the grammar. Batches, model and
    the other settings: see `Translation`.

    Evaluation metrics: `loss` and `token_accuracy` as in `Translation`; `call_match`, the fraction of outputs with the
    JSON value of the reference; `valid`, the fraction that match the grammar and parse, by Python's `re` and `json`;
    and `metrics` of the texts.

    Attributes:
      grammar: Grammar of the outputs, required. Outputs end within `max_length`, so it must fit the longest call.
      constrained: Whether outputs are decoded within the grammar. False shows what the model alone does.
    """

    presentation: ClassVar[Presentation] = FunctionCallingPresentation()

    metrics: tuple[str, ...] = ("exact_match",)
    grammar: Grammar | None = None
    constrained: bool = True

    def automaton(self) -> TokenAutomaton | None:
        return self._grammar().automaton() if self.constrained else None

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        scores = super().score(records, metrics, names)
        if not records:
            return scores
        tokenizer = names.get("target")
        calls = decode_texts(records["tokens"], records["length"], tokenizer)
        references = decode_texts(records["target"], records["target_length"], tokenizer, unknown=UNKNOWN_REFERENCE)
        return {
            **scores,
            "call_match": call_match(calls, references),
            "valid": valid_calls(calls, self._grammar().pattern),
        }

    def _grammar(self) -> Grammar:
        if self.grammar is None:
            raise UserError("FunctionCalling needs a grammar; pass grammar=Grammar(json_calls(FUNCTIONS), vocabulary)")
        return self.grammar
