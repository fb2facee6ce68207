"""Parser of regular expressions to nondeterministic automata (Thompson, 1968).

Syntax, a subset of that of Python's `re` with the same meaning: literals, escapes such as `\\.`, `\\d` (0 to 9), `.`,
classes `[a-z_]` and `[^"]`, groups `(...)` and `(?:...)`, alternatives `|`, and repetitions `?`, `*`, `+`, `{n}`,
`{n,}` and `{n,m}`. A pattern matches whole texts.
"""

import re
from dataclasses import dataclass, field

from jaxdl.errors import UserError

_SPECIAL = frozenset("()[]{}?*+|.^$\\")
_DIGITS = frozenset("0123456789")
_MOST = 200  # repetitions, each of which copies its operand


@dataclass
class Fragment:
    """Nondeterministic automaton with one start and one end.

    Attributes:
      edges: (characters, target) by state.
      empty: Targets by state that are reached without reading a character.
    """

    start: int = 0
    end: int = 0
    edges: dict[int, list[tuple[frozenset[str], int]]] = field(default_factory=dict)
    empty: dict[int, list[int]] = field(default_factory=dict)


def parse(pattern: str, alphabet: frozenset[str]) -> Fragment:
    """Parses a regular expression.

    Args:
      pattern: Regular expression.
      alphabet: Characters of `.` and negated classes.

    Raises:
      UserError: The pattern is not a supported regular expression.
    """
    parser = _Parser(pattern, alphabet)
    fragment = parser.result
    fragment.start, fragment.end = parser.alternatives()
    if parser.place < len(pattern):
        raise parser.error("an unmatched ')'")
    return fragment


class _Parser:
    """Recursive-descent parser. The methods for parts of a pattern return their (start, end) states."""

    def __init__(self, pattern: str, alphabet: frozenset[str]):
        self.pattern, self.alphabet, self.place = pattern, alphabet, 0
        self.result, self.count = Fragment(), 0

    def error(self, problem: str) -> UserError:
        return UserError(f"regular expression '{self.pattern}': {problem} at position {self.place}; correct it")

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self, problem: str = "an incomplete expression") -> str:
        character = self.peek()
        if not character:
            raise self.error(problem)
        self.place += 1
        return character

    def new(self) -> int:
        self.count += 1
        return self.count - 1

    def link(self, source: int, target: int) -> None:
        self.result.empty.setdefault(source, []).append(target)

    def alternatives(self) -> tuple[int, int]:
        start, end = self.new(), self.new()
        while True:
            first, last = self.sequence()
            self.link(start, first)
            self.link(last, end)
            if self.peek() != "|":
                return start, end
            self.place += 1

    def sequence(self) -> tuple[int, int]:
        start = end = self.new()
        while self.peek() not in ("", "|", ")"):
            begin = self.place
            first, last = self.atom()
            bounds = self.repetition()
            if bounds is not None:
                first, last = self.repeated(begin, (first, last), *bounds)
            self.link(end, first)
            end = last
        return start, end

    def repeated(self, begin: int, once: tuple[int, int], least: int, most: int | None) -> tuple[int, int]:
        """Repeats the atom that begins at `begin`, of which `once` is the first copy."""
        stop, copies = self.place, [once]
        for _ in range(max(least, most or 1, 1) - 1):
            self.place = begin
            copies.append(self.atom())
        self.place = stop
        start, end = self.new(), self.new()
        before = start
        for number, (first, last) in enumerate(copies):
            if number >= least:
                self.link(before, end)
            self.link(before, first)
            before = last
        self.link(before, end)
        if most is None:
            self.link(before, copies[-1][0])
        return start, end

    def repetition(self) -> tuple[int, int | None] | None:
        """Returns the (least, most) repetitions after an atom, None without."""
        simple = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(self.peek())
        if simple is not None:
            self.place += 1
            return simple
        if self.peek() != "{":
            return None
        found = re.match(r"\{(\d+)(,(\d*))?\}", self.pattern[self.place :])
        if not found:
            raise self.error("a '{' without numbers; escape it as \\{")
        self.place += found.end()
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most == 0 or (most is not None and most < least) or max(least, most or 0) > _MOST:
            raise self.error(f"repetitions {found[0]}, which must be increasing and from 1 to {_MOST}")
        return least, most

    def atom(self) -> tuple[int, int]:
        character = self.take()
        if character == "(":
            if self.pattern.startswith("?:", self.place):
                self.place += 2
            inner = self.alternatives()
            if self.take("an unclosed '('") != ")":
                raise self.error("an unclosed '('")
            return inner
        if character == "[":
            return self.edge(self.members())
        if character == "\\":
            return self.edge(self.escaped())
        if character == ".":
            return self.edge(self.alphabet - {"\n"})
        if character in _SPECIAL:
            self.place -= 1
            raise self.error(f"an unexpected '{character}'; escape it as \\{character}")
        return self.edge(frozenset(character))

    def edge(self, characters: frozenset[str]) -> tuple[int, int]:
        start, end = self.new(), self.new()
        self.result.edges.setdefault(start, []).append((characters, end))
        return start, end

    def escaped(self) -> frozenset[str]:
        character = self.take("an incomplete escape")
        if character == "d":
            return _DIGITS
        if character.isalnum():
            raise self.error(f"the escape \\{character}, which is not supported")
        return frozenset(character)

    def members(self) -> frozenset[str]:
        """Returns the characters of a class whose bracket has been read."""
        negated = self.peek() == "^"
        self.place += negated
        found: set[str] = set()
        while (character := self.take("an unclosed '['")) != "]":
            first = self.escaped() if character == "\\" else frozenset(character)
            if self.peek() == "-" and self.pattern[self.place + 1 : self.place + 2] not in ("]", ""):
                self.place += 1
                last = self.take()
                if len(first) > 1 or last < min(first):
                    raise self.error("a range that is not increasing")
                found |= {chr(code) for code in range(ord(min(first)), ord(last) + 1)}
            else:
                found |= first
        return self.alphabet - found if negated else frozenset(found)
