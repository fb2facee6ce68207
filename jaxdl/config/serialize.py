"""Building, saving and loading of configurations.

A configuration is a Fiddle `Config`: the calls of a recipe as data. `jaxdl.config.recipes` imports recipes,
`jaxdl.config.overrides` applies `--set`, `jaxdl.config.describe` lists settings. Saved configurations refer to
functions and classes by their public names (`jax.nn.relu`, not the private module that defines it).
"""

import importlib
import json
import os
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.config.describe import (
    as_config,
    as_text,
    canonical,
    diff,
    fingerprint,
    public_name,
    settings,
)
from jaxdl.config.experiment import Experiment, validate, validate_counts
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import UserError

if TYPE_CHECKING:
    import fiddle as fdl


__all__ = [
    "Saved",
    "as_text",
    "as_tree",
    "build",
    "diff",
    "fingerprint",
    "from_json",
    "load",
    "save",
    "settings",
    "to_json",
]

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
    config: "fdl.Config"


def build(config: "fdl.Buildable") -> Experiment:
    """Builds the experiment and validates it.

    Raises:
      UserError: A missing, unknown or invalid argument, with its path.
    """
    import fiddle as fdl

    validate_counts(config.__arguments__)  # first, since schedules raise less specific errors
    try:
        experiment = fdl.build(config)
    except (UserError, TypeError, ValueError) as error:
        original = getattr(error, "proxy_base_exception", error)
        if isinstance(original, UserError):
            raise UserError(str(original)) from error
        message = str(original).strip().partition("\n")[0]
        match = re.search(r"failed to construct or call (\S+) at <root>\.?(\S*)", getattr(error, "proxy_message", ""))
        if match and match[1].rpartition(".")[2] not in message:
            message = f"{match[1]}: {message}"
        where = re.sub(r"\['([A-Za-z_]\w*)'\]", r".\1", match[2]) if match else ""
        raise UserError(f"{where or 'experiment'}: {message}") from error
    if not isinstance(experiment, Experiment):
        raise UserError(f"the recipe returns {type(experiment).__name__}; experiment() must return an Experiment")
    validate(experiment)
    return experiment


def save(path: str | os.PathLike, config: "fdl.Config", recipe: str, overrides: Sequence[str] = ()) -> None:
    """Writes config.json atomically.

    Raises:
      UserError: A value that cannot be saved, with its path.
    """
    part = Path(f"{os.fspath(path)}.part")
    part.write_text(to_json(config, recipe, overrides))
    os.replace(part, path)


def load(path: str | os.PathLike) -> Saved:
    """Imports the recipe, so that the models beside it can be imported, and reads config.json.

    Raises:
      UserError: A missing or damaged file, or one that refers to code that no longer exists.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; pass the config.json of a run") from error
    return from_json(text, str(path))


def to_json(config: "fdl.Config | Experiment", recipe: str, overrides: Sequence[str] = ()) -> str:
    """Returns the text of config.json. Raises UserError like `save`.

    An `Experiment` object is marked opaque: its closures cannot be saved.
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
    """Parses the text of config.json, called `where` in errors. Raises UserError like `load`."""
    from fiddle.experimental import serialization

    check_format(text, where)
    try:
        saved = json.loads(text)
        recipe, overrides = str(saved["recipe"]), tuple(saved["overrides"])
        digest, tree = str(saved["fingerprint"]), json.dumps(saved["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where} is not the config.json of a run, or it is damaged ({error!r})") from error
    if saved["config"] is None:
        raise UserError(
            f"{where} is opaque: the run was trained from an Experiment object, which cannot be saved;"
            " use jaxdl.load(RUN, experiment=...), or train from a recipe or config"
        )
    if recipe:
        load_recipe(recipe)
    try:
        config = serialization.load_json(tree)
    except Exception as error:
        message = str(getattr(error, "proxy_base_exception", error)).partition("\n")[0]
        advice = "check out the commit in its manifest.json"
        if not recipe:
            advice += ", or pass its function or config: jaxdl.load(RUN, experiment=...)"
        raise UserError(f"{where} does not match the installed code: {message}; {advice}") from error
    return Saved(recipe, overrides, digest, config)


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


def as_tree(config: "fdl.Buildable") -> dict[str, Any]:
    """Returns JSON objects in Fiddle's format with public names. Raises UserError like `save`."""
    from fiddle.experimental import serialization

    config = as_config(config)
    canonical(config)  # raises for a value that cannot be saved, with its path
    for module, symbol in _jitted(config):
        serialization.register_constant(module, symbol, compare_by_identity=True)
    return _publish(json.loads(serialization.dump_json(config)))


def _jitted(value: Any) -> Iterator[tuple[str, str]]:
    """Yields names of callables that Fiddle cannot serialize: `jax.nn.relu` is a jitted object."""
    import fiddle as fdl

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
