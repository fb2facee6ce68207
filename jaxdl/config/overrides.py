"""Overrides `--set=NAME=VALUE` of recipe arguments and configuration paths.

An argument of the recipe's `experiment` is passed to it, so that derived values follow. Any other path is set in the
resulting configuration. A path consists of names, `[0]` for items of sequences and for positional arguments, and keys
of mappings: `name` or `['en-de']`.

`fiddle.absl_flags` is not used: its flag sets literals without a check against the annotation, takes no text without
quotes, and does not pass a value to the recipe's function, so that derived values would not follow.
"""

import ast
import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import fiddle as fdl
from fiddle import daglish

from jaxdl.config.annotations import annotation_of, describe, fit, fit_like
from jaxdl.config.experiment import Experiment
from jaxdl.config.recipes import as_recipe, one_line
from jaxdl.config.settings import (
    argument_names,
    as_config,
    assign,
    default_of,
    join,
    settings,
)
from jaxdl.errors import UserError, nearest

_PART = re.compile(r"\.?([^.\[\]'\"=]+)|\[(-?\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")

_EMPTY = inspect.Parameter.empty


class _UnknownNameError(UserError):
    """Part of a path that does not exist."""


def resolve(experiment: Any, overrides: Sequence[str] | Mapping[str, Any] = ()) -> fdl.Config:
    """Returns the configuration of a recipe, with overrides.

    Args:
      experiment: `Recipe`, path or module name of a recipe, `@auto_config` function, or configuration, which is copied.
      overrides: ["NAME=VALUE"] as `--set`, or {NAME: VALUE}. The last override of a name counts.

    Raises:
      UserError: An unknown name, a value of the wrong type, or an error in the recipe.
    """
    pairs = _split(as_overrides(overrides))
    if isinstance(experiment, fdl.Buildable):
        return _apply(copied(experiment), pairs, "the configuration", ())
    recipe = as_recipe(experiment)
    function = recipe.module.experiment.func
    parameters = inspect.signature(function).parameters
    arguments = {
        name: _convert(text, annotation_of(function, name), parameters[name].default, name)
        for name, text in pairs
        if name in parameters
    }
    try:
        config = recipe.module.experiment.as_buildable(**arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(one_line(error, recipe.path)) from error
    paths = [pair for pair in pairs if pair[0] not in parameters]
    return _apply(config, paths, recipe.name or recipe.path.stem, tuple(parameters))


def as_overrides(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Returns overrides as ["NAME=VALUE"], also those of a dictionary, such as a recipe's `sweep()` lists."""
    if isinstance(overrides, Mapping):
        return [f"{name}={value!r}" for name, value in overrides.items()]
    return list(overrides)


def _split(overrides: Sequence[str]) -> list[tuple[str, str]]:
    pairs = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--set={text} has no value; write --set=NAME=VALUE, for example --set=steps=100")
        pairs[name.strip()] = value.strip()
    return list(pairs.items())


def _apply(config: Any, paths: Sequence[tuple[str, str]], where: str, arguments: tuple[str, ...]) -> fdl.Config:
    if not _is_call(config) or fdl.get_callable(config) is not Experiment:
        raise UserError(f"{where} does not return an Experiment; its last line must be `return Experiment(...)`")
    config = as_config(config)
    for name, text in paths:
        try:
            _set(config, parse_path(name), "", text, arguments)
        except _UnknownNameError as error:
            similar = _similar_paths(config, name)
            if not similar:
                raise
            problem = f"{error}; similar paths:" if "." in name else f"no '{name}' in the experiment; did you mean"
            raise UserError(f"{problem} {' or '.join(similar)}") from error
    return config


def copied(config: fdl.Buildable) -> fdl.Buildable:
    """Copies calls and containers, but no leaves: a copy of `jax.nn.relu` has no public name."""

    def copied(value: Any, state: daglish.State) -> Any:
        return state.map_children(value) if state.is_traversable(value) else value

    return daglish.MemoizedTraversal.run(copied, config)


def _similar_paths(config: fdl.Config, name: str) -> list[str]:
    """Returns up to three paths with the same last name, best first, or else one similar path."""
    paths = [setting.path for setting in sorted(settings(config), key=lambda setting: setting.default)]
    same = [path for path in paths if path.endswith(f".{name.rpartition('.')[2]}")]
    ranked = sorted(same, key=lambda path: -difflib.SequenceMatcher(None, name, path).ratio())
    return ranked[:3] or difflib.get_close_matches(name, paths if "." in name else (), n=1, cutoff=0.7)


def parse_path(path: str) -> list[str | int]:
    """Returns the names and indices of a path. Raises UserError if it is none."""
    parts, position = [], 0
    while position < len(path):
        match = _PART.match(path, position)
        if not match or (position == 0 and path[0] in ".["):
            raise UserError(f"--set={path}=... is not a path; write names and items like data.augment[0].padding")
        name, index, single, double = match.groups()
        parts.append(int(index) if index else next(part for part in (name, single, double) if part is not None))
        position = match.end()
    return parts


def _set(node: Any, path: list[str | int], here: str, text: str, arguments: tuple[str, ...]) -> Any:
    """Replaces the value at `path`; changes calls in place, copies containers."""
    key, present = _find(node, path[0], here, arguments)
    child_path = join(here, key)
    if len(path) > 1:
        inner = _opened(present, _annotation(node, key))
        if not _is_container(inner):
            raise UserError(f"{child_path} is {_text(inner)}, which has no '{path[1]}'; set {child_path} itself")
        value = _set(inner, path[1:], child_path, text, ())
    else:
        value = _convert(text, _annotation(node, key), present, child_path)
    return _replaced(node, key, value)


def _find(node: Any, key: str | int, here: str, arguments: tuple[str, ...]) -> tuple[str | int, Any]:
    """Returns the key in `node` and its present value (the default if unset)."""
    if _is_call(node):
        if isinstance(key, int) and key in node.__arguments__:
            return key, node.__arguments__[key]
        names: list[Any] = [*argument_names(node), *(f"[{n}]" for n in node.__arguments__ if isinstance(n, int))]
        if key in names:
            return key, node.__arguments__[key] if key in node.__arguments__ else default_of(node, str(key))
        function = fdl.get_callable(node)
        kind = f" ({getattr(function, '__name__', function)})"
    elif isinstance(node, Mapping):
        names, kind = [str(name) for name in node], ""
        for name in node:
            if str(name) == str(key):
                return name, node[name]
    else:
        names, kind = [str(index) for index in range(len(node))], f" ({len(node)} items)"
        if re.fullmatch(r"-?\d+", str(key)) and -len(node) <= int(key) < len(node):
            index = int(key) % len(node)
            return index, node[index]
    requested = str(key) if isinstance(key, str) else f"[{key}]"
    experiment = "in the experiment or among the recipe's arguments" if arguments else "in the experiment"
    place = f"in {here}{kind}" if here else experiment
    raise _UnknownNameError(f"no '{requested}' {place}; {nearest(requested, {*names, *arguments})}")


def _opened(present: Any, annotation: Any) -> Any:
    """Returns the present value as a configuration; for None a call of the annotated dataclass."""
    candidates = (annotation, *typing.get_args(annotation))
    kinds = [kind for kind in candidates if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    return fdl.Config(kinds[0]) if present is None and len(kinds) == 1 else as_config(present)


def _replaced(node: Any, key: Any, value: Any) -> Any:
    if _is_call(node):
        assign(node, key, value)
        return node
    if isinstance(node, Mapping):
        return {**node, key: value}
    return type(node)([*node[:key], value, *node[key + 1 :]])


def _is_container(value: Any) -> bool:
    return _is_call(value) or isinstance(value, Mapping) or type(value) in (list, tuple)


def _annotation(node: Any, key: str | int) -> Any:
    if _is_call(node) and isinstance(key, str):
        return annotation_of(fdl.get_callable(node), key)
    return None


def _convert(text: str, annotation: Any, present: Any, path: str) -> Any:
    """Returns VALUE as a Python literal or as text, converted to the argument's type."""
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        literal = text
    undecided = False
    for candidate in (literal, text):
        ok, converted = fit(candidate, annotation) if annotation is not None else (None, candidate)
        if ok:
            return converted
        undecided = undecided or ok is None
    if undecided and not _is_call(present) and not _is_function(present):
        ok, converted = fit_like(literal, present)
        if ok is False and isinstance(present, str):
            return text
        if ok is not False:
            return converted
    raise UserError(
        f"{path} takes {_expected_type(annotation, present, undecided)}, got {text!r}{_advice(present, path)}"
    )


def _expected_type(annotation: Any, present: Any, undecided: bool) -> str:
    if annotation is not None and not undecided:
        return describe(annotation)
    if _is_call(present) or _is_function(present):
        return "an object that only a recipe can construct"
    return describe(type(present))


def _advice(present: Any, path: str) -> str:
    if _is_call(present):
        names = argument_names(present)
        return f"; set its arguments ({', '.join(f'{path}.{name}' for name in names[:3])}, ...)" if names else ""
    return "; --set cannot pass a function; edit the recipe" if _is_function(present) else ""


def _is_call(value: Any) -> bool:
    return isinstance(value, fdl.Buildable)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _text(value: Any) -> str:
    if value is _EMPTY:
        return "not set"
    return f"{value!r}" if isinstance(value, (bool, int, float, str, type(None))) else f"a {type(value).__name__}"
