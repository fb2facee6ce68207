"""Functions of Python's standard library: signature and docstring, and the body that was written for them.

From the standard library of the Python that runs (PSF licence), so another version has other functions; tests are left
out. A function has a body of at most 400 characters besides its docstring, and no decorators. `source` is the
signature and, in a second line, the docstring's first paragraph, `target` the body without the docstring, both as `ast`
writes them: without comments and indented by four spaces; the body's own indentation is taken off.

Parts are by top-level module or package, so that nothing of it is seen in training. Validation and test have functions
with docstrings alone. Python 3.11.7 gives 6,978 to
train on, 735 for validation and 873 for the test.
"""

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import ExamplesBuilder
from jaxdl.data.splits import PARTS, part_of

LONGEST = 400  # characters of a body
LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "site-packages", "turtledemo", "pydoc_data", "__pycache__")


class Function(NamedTuple):
    """What a function should do, and how it does it."""

    source: str
    target: str


class Builder(ExamplesBuilder, skip_registration=True):
    """`source` and `target`."""

    name = "python_functions"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"source": tfds.features.Text(), "target": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        found = functions(Path(sysconfig.get_paths()["stdlib"]))
        return {part: _examples(found, part) for part in PARTS}


def functions(root: Path) -> dict[Function, str]:
    """All different functions below a folder, each with the top-level module it is first in."""
    found: dict[Function, str] = {}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts
        if any(part in LEFT_OUT for part in inside):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):  # templates of other versions, and files in other encodings
            continue
        for node in ast.walk(tree):
            function = of_node(node)
            if function is not None:
                found.setdefault(function, inside[0].removesuffix(".py"))
    return found


def of_node(node: ast.AST) -> Function | None:
    """The function that a node of a syntax tree is, if it is one as described above."""
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return None
    docstring = ast.get_docstring(node) or ""
    body = node.body[1:] if docstring else node.body
    if not body:
        return None
    head = ast.unparse(ast.FunctionDef(node.name, node.args, [ast.Pass()], [], node.returns, lineno=0))
    first = " ".join(docstring.split("\n\n")[0].split())
    target = "\n".join(ast.unparse(each) for each in body)
    signature = head.rsplit("\n", 1)[0]
    return Function(f"{signature}\n{first}" if first else signature, target) if len(target) <= LONGEST else None


def _examples(found: dict[Function, str], part: str) -> Iterator[tuple[int, dict[str, str]]]:
    own = [function for function, module in found.items() if part_of(module, validation=8, test=8) == part]
    own = [function for function in own if part == "train" or "\n" in function.source]
    for number, function in enumerate(own):
        yield number, function._asdict()
