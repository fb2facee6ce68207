"""TypeScript beside the JavaScript that was made of it, statement by statement, as tokens.

A token is a name, a number, a string, a template, an operator or a bracket; comments are none. Statements at the top
level of a file are paired by what they declare. A text is its tokens with a space between; a space inside a token is
written as a no-break space (U+00A0).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SPACE = "\N{NO-BREAK SPACE}"
LONGEST = 300  # tokens of a statement in TypeScript
_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\s+
    |(?P<token>`(?:\\.|[^`\\])*`|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'
    |[A-Za-z_$][\w$]*|\d[\w.]*
    |\.\.\.|=>|\?\?=|\?\?|\?\.|===|!==|==|!=|<=|>=|&&|\|\||\+\+|--|\+=|-=|\*=|\*\*|.)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_BEGINNING = frozenset(("export", "function", "class", "const", "let", "var", "import", "interface", "type", "declare"))
_DECLARING = frozenset(("function", "class", "const", "let", "var"))


def tokens_of(code: str) -> list[str]:
    """The tokens of TypeScript or JavaScript."""
    found = (match.group("token") for match in _TOKEN.finditer(code))
    return [token.replace(" ", SPACE) for token in found if token]


def statements(tokens: Sequence[str]) -> Iterator[list[str]]:
    """The statements at the top level; each begins with one of a few words after the end of another."""
    depth, current = 0, []
    for token in tokens:
        if depth == 0 and token in _BEGINNING and current and current[-1] in (";", "}"):
            yield current
            current = []
        depth += (token in _OPENING) - (token in _CLOSING)
        current.append(token)
    if current:
        yield current


def declared(statement: Sequence[str]) -> str | None:
    """The name that a statement declares a value by; None if it declares none, or only its type."""
    words = [word for word in statement[:5] if word not in ("export", "default", "abstract", "async")]
    if not words or words[0] not in _DECLARING or len(words) < 2:
        return None
    if words[0] == "function" and statement[-1] == ";":  # the signature of an overload
        return None
    return words[1]


def pairs(typescript: str, javascript: str) -> list[tuple[str, str]]:
    """(TypeScript, JavaScript) of each declaration that two files share, as texts."""
    made = {declared(statement): statement for statement in statements(tokens_of(javascript))}
    found = []
    for statement in statements(tokens_of(typescript)):
        name = declared(statement)
        if name is not None and name in made and len(statement) <= LONGEST:
            both = [" ".join(each) for each in (statement, made[name])]
            if not any("\n" in text for text in both):
                found.append((both[0], both[1]))
    return found


def of_package(root: Path) -> dict[tuple[str, str], str]:
    """All different pairs of a package with `src/*.ts` and `dist/esm/*.js`, each with the file that it is first in."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted((root / "src").rglob("*.ts")):
        inside = path.relative_to(root / "src")
        other = (root / "dist" / "esm" / inside).with_suffix(".js")
        if other.is_file():
            code = other.read_text(encoding="utf-8").split("//# sourceMappingURL")[0]
            for pair in pairs(path.read_text(encoding="utf-8"), code):
                found.setdefault(pair, inside.as_posix())
    return found


def kept(source: Sequence[str], target: Sequence[str]) -> tuple[list[bool], bool]:
    """Which tokens of `source` stay so that `target` is left, and whether it is: not where tokens must be added."""
    from difflib import SequenceMatcher

    stays = [False] * len(source)
    for start, _, size in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        stays[start : start + size] = [True] * size
    if [token for token, stay in zip(source, stays) if stay] == list(target):
        return stays, True
    # From the end: types come after what they are of.
    greedy, place = [False] * len(source), len(target) - 1
    for number in range(len(source) - 1, -1, -1):
        if place >= 0 and source[number] == target[place]:
            greedy[number], place = True, place - 1
    return (greedy, True) if place < 0 else (stays, False)
