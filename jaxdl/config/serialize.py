"""Saving and loading of configurations.

A configuration is a Fiddle `Config`: the calls of a recipe as data. A saved one refers to functions and classes by
their public names (`jax.nn.relu`, not the private module that defines it).
"""

import importlib
import json
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import fiddle as fdl
from fiddle.experimental import serialization

from jaxdl.config import trust
from jaxdl.config.experiment import Experiment
from jaxdl.config.recipes import import_recipe, recipe_path
from jaxdl.config.settings import as_config, canonical, fingerprint, public_name
from jaxdl.errors import UserError

FORMAT = "0.2"  # version of jaxdl that wrote a run folder; a change that breaks old folders raises it
_SAVED_BY_FIDDLE = (type, types.FunctionType, types.MethodType, Enum)


@dataclass(frozen=True)
class Saved:
    """Content of config.json.

    Attributes:
      recipe: Name for `load_recipe`. "" for a configuration without a recipe file.
      overrides: Applied `NAME=VALUE` overrides.
      fingerprint: Fingerprint at the time of saving.
      config: Configuration, equal to the saved one.
    """

    recipe: str
    overrides: tuple[str, ...]
    fingerprint: str
    config: fdl.Config


def to_json(config: fdl.Config | Experiment, recipe: str, overrides: Sequence[str] = ()) -> str:
    """Returns the text of config.json. An `Experiment` object is marked opaque: its closures cannot be saved.

    Raises:
      UserError: A value that cannot be saved, with its path.
    """
    opaque = isinstance(config, Experiment)
    saved = {
        "version": FORMAT,
        "recipe": recipe,
        "overrides": list(overrides),
        "fingerprint": None if opaque else fingerprint(config),
        "config": None if opaque else as_tree(config),
    }
    return json.dumps(saved, indent=1) + "\n"


def from_json(text: str, where: str = "config.json") -> Saved:
    """Parses the text of config.json; imports the recipe first, so that the models beside it can be imported.

    Raises:
      UserError: A damaged text, one that refers to code that no longer exists, or code that is not trusted, see
        `jaxdl.config.trust`; `where` names it.
    """
    saved = read(text, where)
    if saved["config"] is None:
        raise UserError(
            f"{where} is opaque: the run was trained from an Experiment object, which cannot be saved;"
            " use jaxdl.load(RUN, experiment=...), or train from a recipe or config"
        )
    with _damage(where):
        trust.check(saved, where)
    recipe, overrides, digest = saved["recipe"], tuple(saved["overrides"]), str(saved["fingerprint"])
    if recipe:
        import_recipe(recipe_path(recipe))
    try:
        config = serialization.load_json(json.dumps(saved["config"]))
    except Exception as error:
        message = str(getattr(error, "proxy_base_exception", error)).partition("\n")[0]
        advice = "check out the commit in its manifest.json"
        if not recipe:
            advice += ", or pass its function or config: jaxdl.load(RUN, experiment=...)"
        raise UserError(f"{where} does not match the installed code: {message}; {advice}") from error
    return Saved(recipe, overrides, digest, config)


def read(text: str, where: str = "config.json") -> dict[str, Any]:
    """Returns the JSON values of config.json, without importing anything.

    Returns:
      {"recipe", "overrides", "fingerprint", "config"}; "config" is None for an opaque run.

    Raises:
      UserError: A damaged text, or one of another version of jaxdl; `where` names it.
    """
    check_format(text, where)
    with _damage(where):
        saved = json.loads(text)
        return {
            "recipe": str(saved["recipe"]),
            "overrides": list(saved["overrides"]),
            "fingerprint": saved["fingerprint"],
            "config": saved["config"],
        }


def accept(text: str, where: str = "config.json", loaded: bool = False) -> None:
    """Trusts the code of a config.json, see `jaxdl.config.trust.accept`. Raises UserError for a damaged text."""
    saved = read(text, where)
    if saved["config"] is not None:
        with _damage(where):
            trust.accept(saved, loaded)


@contextmanager
def _damage(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{where} is not the config.json of a run, or it is damaged ({error!r})") from error


def check_format(text: str, where: str = "config.json") -> None:
    """Refuses the config.json of another version of jaxdl.

    Raises:
      UserError: Another version, or text that is not JSON.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where} is not the config.json of a run, or it is damaged ({error!r})") from error
    version = content.get("version", "0.1") if isinstance(content, dict) and "config" in content else FORMAT
    if version != FORMAT:
        raise UserError(
            f"{where} was written by jaxdl {version}, and this is jaxdl {FORMAT}; use jaxdl {version} or train again"
        )


def as_tree(config: fdl.Buildable) -> dict[str, Any]:
    """Returns JSON objects in Fiddle's format with public names. Raises UserError like `to_json`."""
    config = as_config(config)
    canonical(config)  # raises for a value that cannot be saved, with its path
    for module, symbol in _jitted(config):
        serialization.register_constant(module, symbol, compare_by_identity=True)
    return _publish(json.loads(serialization.dump_json(config)))


def _jitted(value: Any) -> Iterator[tuple[str, str]]:
    """Yields names of callables that Fiddle cannot serialize: `jax.nn.relu` is a jitted object."""
    if isinstance(value, fdl.Buildable):
        yield from _jitted(fdl.get_callable(value))
        for argument in value.__arguments__.values():
            yield from _jitted(argument)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _jitted(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _jitted(item)
    elif callable(value) and not isinstance(value, _SAVED_BY_FIDDLE) and (name := public_name(value)):
        yield name


def _publish(tree: Any) -> Any:
    """Replaces private modules in Fiddle's references by public ones."""
    if isinstance(tree, list):
        return [_publish(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("type") == "pyref" and "._" in tree["module"]:
        target = importlib.import_module(tree["module"])
        for part in tree["name"].split("."):
            target = getattr(target, part)
        if name := public_name(target):
            return {**tree, "module": name[0], "name": name[1]}
    return {name: _publish(item) for name, item in tree.items()}
