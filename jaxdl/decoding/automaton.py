"""Finite automata of regular expressions, over characters and over tokens."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxdl.decoding.regular_expressions import Fragment, parse

DEAD = -1  # no transition


@dataclass(frozen=True)
class Automaton:
    """Deterministic automaton over characters, which starts in state 0.

    Attributes:
      transitions: Next state by character, for each state.
      accepting: bool [states].
    """

    transitions: tuple[Mapping[str, int], ...]
    accepting: np.ndarray

    @classmethod
    def compile(cls, pattern: str, alphabet: Iterable[str]) -> "Automaton":
        """Compiles a regular expression by the subset construction (Rabin and Scott, 1959).

        Args:
          pattern: See `jaxdl.decoding.regular_expressions`; it must match the whole text.
          alphabet: Characters that occur in texts.

        Raises:
          UserError: The pattern is not a supported regular expression.
        """
        nondeterministic = parse(pattern, frozenset(alphabet))
        start = _closure(nondeterministic, {nondeterministic.start})
        numbers, queue, transitions = {start: 0}, [start], []
        for states in queue:  # grows in the loop
            targets: dict[str, set[int]] = {}
            for state in states:
                for characters, target in nondeterministic.edges.get(state, ()):
                    for character in characters:
                        targets.setdefault(character, set()).add(target)
            row = {}
            for character, target in sorted(targets.items()):
                closed = _closure(nondeterministic, target)
                if closed not in numbers:
                    numbers[closed] = len(numbers)
                    queue.append(closed)
                row[character] = numbers[closed]
            transitions.append(row)
        return cls(tuple(transitions), np.array([nondeterministic.end in states for states in queue]))

    def matches(self, text: str) -> bool:
        """Returns whether the whole text matches."""
        state = self.after(0, text)
        return state != DEAD and bool(self.accepting[state])

    def after(self, state: int, text: str) -> int:
        """Returns the state after a text, `DEAD` if no continuation of it matches."""
        for character in text:
            if state == DEAD:
                break
            state = self.transitions[state].get(character, DEAD)
        return state

    def over_tokens(self, tokens: Sequence[str]) -> np.ndarray:
        """Returns the next state by state and token, int32 [states, tokens]; `DEAD` for tokens that do not fit.

        Tokens are read character by character (arXiv:2307.09702). An empty text stands for a token that never fits.
        """
        table = np.full((len(self.transitions), len(tokens)), DEAD, np.int32)
        for number, token in enumerate(tokens):
            if token:
                table[:, number] = [self.after(state, token) for state in range(len(self.transitions))]
        return table


def _closure(nondeterministic: Fragment, states: Iterable[int]) -> frozenset[int]:
    """Returns the states that are reached without reading a character."""
    found, stack = set(states), list(states)
    while stack:
        for target in nondeterministic.empty.get(stack.pop(), ()):
            if target not in found:
                found.add(target)
                stack.append(target)
    return frozenset(found)
