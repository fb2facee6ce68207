"""Decoding constrained by a regular grammar: a mask of the tokens that may follow.

Every decoded text matches the grammar, whatever the model predicts, because tokens are also refused after which the
text could not be completed within the maximum length.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text.special_tokens import END
from jaxdl.decoding.automaton import DEAD, Automaton
from jaxdl.decoding.beam_search import PyTree, Step
from jaxdl.errors import UserError

Array = jax.Array


class Position(NamedTuple):
    """Place of decoded sequences in a grammar.

    Attributes:
      state: int32 [batch].
      left: int32 [batch], number of tokens that may follow, with the end token.
    """

    state: Array
    left: Array


@dataclass(frozen=True)
class TokenAutomaton:
    """Automaton over the tokens of a vocabulary.

    Attributes:
      next: int32 [states, tokens], -1 for tokens that do not fit.
      needed: int32 [states], smallest number of tokens that complete the text, with the end token.
    """

    next: np.ndarray
    needed: np.ndarray

    @classmethod
    def of(cls, automaton: Automaton, tokens: Sequence[str]) -> "TokenAutomaton":
        """Lifts an automaton over characters to tokens, given as texts ("" for tokens that never fit).

        Raises:
          UserError: No sequence of tokens matches.
        """
        table = automaton.over_tokens(tokens)
        far = np.iinfo(np.int32).max // 2
        needed = np.where(automaton.accepting, 1, far).astype(np.int64)
        while True:
            after = np.where(table == DEAD, far, needed[table]).min(axis=1, initial=far) + 1
            shorter = np.minimum(needed, after)
            if np.array_equal(shorter, needed):
                break
            needed = shorter
        if needed[0] >= far:
            raise UserError("no text of the vocabulary's tokens matches the grammar; train it on texts that do")
        table = np.where((table != DEAD) & (needed[table] < far), table, DEAD)
        return cls(table.astype(np.int32), np.minimum(needed, far).astype(np.int32))

    def constrain(self, step: Step, carry: PyTree, batch: int, max_length: int) -> tuple[Step, PyTree]:
        """Returns a step and a carry that also track the position in the grammar, for `allowed`.

        Args:
          step, carry: Model, see `jaxdl.decoding.beam_search`; the first token that it reads is the start token.
          batch: Number of examples of the carry.
          max_length: Maximum length of a sequence, with the end token.

        Raises:
          UserError: `max_length` is shorter than every text of the grammar.
        """
        if max_length < self.needed[0]:
            raise UserError(
                f"max_length={max_length} is shorter than the shortest text of the grammar, {self.needed[0]} tokens "
                "with <end>; increase it"
            )
        following = jnp.asarray(self.next)

        def constrained(carry: tuple[PyTree, Position], token: Array) -> tuple[Array, tuple[PyTree, Position]]:
            inner, position = carry
            logits, inner = step(inner, token)
            after = following[position.state, token]
            # The start token and padding keep the state.
            return logits, (inner, Position(jnp.where(after == DEAD, position.state, after), position.left - 1))

        start = Position(jnp.zeros(batch, jnp.int32), jnp.full(batch, max_length + 1, jnp.int32))
        return constrained, (carry, start)

    def allowed(self, carry: tuple[PyTree, Position]) -> Array:
        """Returns the tokens that may follow, bool [batch, tokens]."""
        position, needed = carry[1], jnp.asarray(self.needed)
        after = jnp.asarray(self.next)[position.state]
        fits = (after != DEAD) & (needed[after] < position.left[:, None])
        return fits.at[:, END].set(needed[position.state] == 1)


@dataclass(frozen=True)
class Grammar:
    """Regular grammar of the decoded texts.

    Attributes:
      pattern: Regular expression, see `jaxdl.decoding.regular_expressions`.
      vocabulary: Vocabulary of the outputs, such as `jaxdl.data.text.tokenizers.Vocabulary`, loaded at the first use:
        characters or BPE, whose tokens are substrings of the text.
    """

    pattern: str
    vocabulary: Any

    def automaton(self) -> TokenAutomaton:
        """Compiles the pattern for the vocabulary.

        Raises:
          UserError: The pattern is not a supported regular expression, or no text of the tokens matches it.
        """
        return _compiled(self.pattern, self.vocabulary.load().spellings)


@functools.lru_cache(maxsize=8)
def _compiled(pattern: str, tokens: tuple[str, ...]) -> TokenAutomaton:
    if any(len(token) > 1 and token[0] == " " for token in tokens):
        pattern = f" ?({pattern})"  # BPE: `decode` removes the space of the first word
    return TokenAutomaton.of(Automaton.compile(pattern, set("".join(tokens))), tokens)


def json_calls(functions: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the regular expression of compact JSON objects, one per function call.

    Args:
      functions: Regular expression of the JSON value of each argument, by function and argument in their order. A "?"
        after an argument's name makes it optional.

    Example: `{"call": {"name": '"[a-z]+"', "times?": "[1-9]"}}` matches `{"function":"call","name":"ann","times":2}`.
    """
    calls = []
    for function, arguments in functions.items():
        parts = [f'\\{{"function":"{_literal(function)}"']
        for name, value in arguments.items():
            part = f',"{_literal(name.removesuffix("?"))}":({value})'
            parts.append(f"({part})?" if name.endswith("?") else part)
        calls.append("".join(parts) + "\\}")
    return "|".join(calls)


def _literal(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else f"\\{letter}" for letter in name)
