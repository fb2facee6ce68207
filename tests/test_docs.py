"""Commands and imports in the code blocks of README and documentation exist.

The build of the site executes the tutorials; the other blocks need a cluster, a GPU, a download or a finished run.
"""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from jaxdl.commands.cli import commands
from jaxdl.commands.flags import GLOBAL
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*/*.md"))]
PROGRAM = re.compile(
    r"(?:^|&& |! ?|srun [^\n]*? )(?:\.venv/bin/)?(?:python launch\.py|jaxdl)\b([^\n#&|<]*)", re.MULTILINE
)


def blocks(path: Path, *kinds: str) -> list[str]:
    """Code blocks of some languages; continued lines are joined."""
    found = re.findall(r"```(?:\{code-cell\} )?(\w+)\n(.*?)```", path.read_text(), re.DOTALL)
    return [code.replace("\\\n", " ") for kind, code in found if kind in kinds]


def command_lines() -> list[tuple[str, str]]:
    return [
        (path.name, arguments.strip())
        for path in FILES
        for code in blocks(path, "bash", "python")
        for arguments in PROGRAM.findall(code)
    ]


def unknown(arguments: str) -> list[str]:
    """Returns the words of a command line that its command does not declare."""
    words = shlex.split(re.sub(r"\s\.\.\.", "", arguments))
    name = words.pop(0) if words and not words[0].startswith("-") else "train"
    if name not in commands():
        return [name]
    known = {flag.name for flag in (*GLOBAL, *commands()[name].flags)} | {"help"}
    flags = [word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")]
    return [flag for flag in flags if flag not in known and flag.removeprefix("no") not in known]


def test_commands_of_the_documentation_have_their_flags():
    lines = command_lines()
    assert len(lines) > 80
    assert [(name, line, words) for name, line in lines if (words := unknown(line))] == []


def test_an_unknown_flag_is_found():
    assert unknown("sweep --config=a.py --gird=seed=0..4") == ["gird"]
    assert unknown("trian --config=a.py") == ["trian"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_names_imported_from_jaxdl_exist(path):
    for code in blocks(path, "python"):
        lines = [line for line in code.splitlines() if not line.startswith(("%", "!", ":"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxdl"):
                module = importlib.import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.parametrize("name", ["adding", "digits"])
def test_recipes_of_the_optimizer_study_build_all_optimizers(name):
    recipe = load_recipe(str(ROOT / "docs/comparisons/one_seed" / f"{name}.py"))
    for optimizer in recipe.module.RATES:
        assert build(recipe.module.experiment.as_buildable(name=optimizer)).optimizers.keys() == {"train"}
