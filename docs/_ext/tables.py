"""Directives of the reference: tables of public classes and the members of all modules of a package.

`class-table` lists the public classes or functions of modules with a summary and the cited papers. `task-table` lists
the tasks with what their docstrings state about groups, batches, metrics and predictions. `modules` documents every
public module of a package.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

_PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})")


def modules_in(package: str) -> list[str]:
    """Returns the public modules of a package, or the module itself."""
    module = importlib.import_module(package)
    if not hasattr(module, "__path__"):
        return [package]
    names = [found.name for found in pkgutil.walk_packages(module.__path__, f"{package}.")]
    public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    return [name for name in public if not hasattr(importlib.import_module(name), "__path__")]


def public_members(module: str) -> Iterator[tuple[str, Any]]:
    """Yields the documented public classes and functions that a module defines, in its order."""
    for name, value in vars(importlib.import_module(module)).items():
        defined = inspect.isclass(value) or inspect.isfunction(value)
        if defined and not name.startswith("_") and value.__module__ == module and value.__doc__:
            yield name, value


def summary(value: Any) -> str:
    """Returns the first paragraph of a docstring on one line, without the papers."""
    first = inspect.cleandoc(value.__doc__).split("\n\n")[0]
    text = _PAPER.sub("", " ".join(first.split()))
    return re.sub(r"\s*\(\s*(,\s*)*\)", "", text).replace(" ,", ",").replace(" .", ".").replace("|", "\\|")


def papers(value: Any) -> str:
    """Returns links to the papers of a docstring, or of its module if it names none."""
    found = _PAPER.findall(value.__doc__) or _PAPER.findall(inspect.getmodule(value).__doc__ or "")
    return ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in dict.fromkeys(found))


class _Markdown(SphinxDirective):
    """Directive whose content is generated MyST."""

    required_arguments = 1
    final_argument_whitespace = True

    def lines(self) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList(self.lines(), source=self.env.docname), self.content_offset, container)
        return container.children


class ClassTable(_Markdown):
    """Table of the classes, or with `:functions:` also the functions, of packages or modules."""

    option_spec = {"functions": directives.flag, "subclass": directives.unchanged}

    def lines(self) -> list[str]:
        rows = []
        for package in self.arguments[0].split():
            for module in modules_in(package):
                rows += [row for name, value in public_members(module) if (row := self._row(module, name, value))]
        papered = any(row[2] for row in rows)
        head = ["name", "description", *(["paper"] if papered else [])]
        cells = [head, ["---"] * len(head), *([row[:3] if papered else row[:2] for row in rows])]
        return [f"| {' | '.join(row)} |" for row in cells]

    def _row(self, module: str, name: str, value: Any) -> list[str]:
        if not inspect.isclass(value) and "functions" not in self.options:
            return []
        if base := self.options.get("subclass"):
            owner, _, attribute = base.rpartition(".")
            kind = getattr(importlib.import_module(owner), attribute)
            if not (inspect.isclass(value) and issubclass(value, kind)):
                return []
        role = "class" if inspect.isclass(value) else "func"
        return [f"{{{role}}}`~{module}.{name}`", summary(value), papers(value)]


class TaskTable(_Markdown):
    """Table of the tasks: groups and phases, batches, metrics, predictions."""

    def lines(self) -> list[str]:
        from jaxdl.training.task import Task

        lines = []
        for module in modules_in(self.arguments[0]):
            for name, value in public_members(module):
                if inspect.isclass(value) and issubclass(value, Task):
                    lines += [f"## {name}", "", f"{{class}}`~{module}.{name}`: {summary(value)}", ""]
                    lines += self._facts(inspect.cleandoc(value.__doc__ or ""))
        return lines

    def _facts(self, text: str) -> list[str]:
        lines = []
        for paragraph in text.split("\n\n"):
            flat = " ".join(paragraph.split())
            if flat.startswith("Trains"):
                lines += ["Training", f": {flat}", ""]
            elif re.match(r"(Batches|Evaluation metrics|Predictions|Samples)\b", flat) and ":" in flat:
                term, _, definition = flat.partition(":")
                lines += [term, f": {definition.strip()}", ""]
        return lines


class Modules(_Markdown):
    """Members of every public module of packages."""

    def lines(self) -> list[str]:
        lines = []
        for package in self.arguments[0].split():
            for module in modules_in(package):
                lines += [f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}", "```", ""]
        return lines


class CommandHelp(SphinxDirective):
    """Help texts of all commands, as `jaxdl COMMAND --help` prints them."""

    def run(self) -> list[nodes.Node]:
        from jaxdl.commands import cli

        lines = []
        for command in cli.commands().values():
            lines += [f"## {command.name}", "", "```text", *cli.help_text(command).splitlines(), "```", ""]
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.env.docname), self.content_offset, container)
        return container.children


def escape(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escapes the characters of docstrings that have a meaning in reStructuredText, outside of code."""
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("*", "\\*").replace("|", "\\|") for part in parts[::2]]
        lines[number] = "`".join(parts)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", escape, priority=100)
    app.add_directive("class-table", ClassTable)
    app.add_directive("task-table", TaskTable)
    app.add_directive("modules", Modules)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
