"""TypeScript statements paired with the JavaScript that the compiler emitted, as tokens.

Tokens are names, numbers, strings, templates, operators and brackets, without comments. Top-level statements are paired
by the name that they declare. Tokens are joined by spaces; a space inside a token becomes a no-break space (U+00A0).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SPACE = "\N{NO-BREAK SPACE}"
LONGEST = 300  # largest number of tokens in a TypeScript statement
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
    """Tokenizes TypeScript or JavaScript."""
    matches = (match.group("token") for match in _TOKEN.finditer(code))
    return [token.replace(" ", SPACE) for token in matches if token]


def statements(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Yields the top-level statements; each begins with a keyword after the end of another."""
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
    """Returns the name of the declared value, or None for types, overloads and other statements."""
    words = [word for word in statement[:5] if word not in ("export", "default", "abstract", "async")]
    if not words or words[0] not in _DECLARING or len(words) < 2:
        return None
    if words[0] == "function" and statement[-1] == ";":  # an overload signature
        return None
    return words[1]


def pairs(typescript: str, javascript: str) -> list[tuple[str, str]]:
    """Returns (TypeScript, JavaScript) of each declaration that two files share."""
    javascript_by_name = {declared(statement): statement for statement in statements(tokens_of(javascript))}
    matched = []
    for statement in statements(tokens_of(typescript)):
        name = declared(statement)
        if name is not None and name in javascript_by_name and len(statement) <= LONGEST:
            sides = [" ".join(side) for side in (statement, javascript_by_name[name])]
            if not any("\n" in text for text in sides):
                matched.append((sides[0], sides[1]))
    return matched


def of_package(root: Path, typescript: str, javascript: str) -> dict[tuple[str, str], str]:
    """Returns the distinct pairs of a package, each with its first file.

    Args:
      root: Folder of the package.
      typescript: Folder of the `.ts` files in it.
      javascript: Folder of the `.js` files, under the same names.
    """
    file_of_pair: dict[tuple[str, str], str] = {}
    for path in sorted((root / typescript).rglob("*.ts")):
        inside = path.relative_to(root / typescript)
        other = (root / javascript / inside).with_suffix(".js")
        if other.is_file():
            code = other.read_text(encoding="utf-8").split("//# sourceMappingURL")[0]
            for pair in pairs(path.read_text(encoding="utf-8"), code):
                file_of_pair.setdefault(pair, inside.as_posix())
    return file_of_pair


def kept(source: Sequence[str], target: Sequence[str]) -> tuple[list[bool], bool]:
    """Returns which source tokens to keep, and whether deletion alone yields the target."""
    from difflib import SequenceMatcher

    keeps = [False] * len(source)
    for start, _, size in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        keeps[start : start + size] = [True] * size
    if [token for token, stay in zip(source, keeps) if stay] == list(target):
        return keeps, True
    # Backwards, because type annotations follow what they annotate.
    greedy, remaining = [False] * len(source), len(target) - 1
    for number in range(len(source) - 1, -1, -1):
        if remaining >= 0 and source[number] == target[remaining]:
            greedy[number], remaining = True, remaining - 1
    return (greedy, True) if remaining < 0 else (keeps, False)
