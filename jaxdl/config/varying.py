"""Configurations that differ in seeds and in numbers of their optimizers only, so that one program can train them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import fiddle as fdl

from jaxdl.config.overrides import copied, parse_path
from jaxdl.config.settings import as_config, assign, default_of, settings
from jaxdl.config.text import to_text

_SEEDS = ("seed", "seeds")
_NUMBERS = ("optimizers", "ema")


def differing(configs: Sequence[fdl.Config]) -> list[str]:
    """Returns the paths of the settings that are not the same in all configurations, without seeds."""
    tables = [{setting.path: setting.value for setting in settings(config)} for config in configs]
    paths = dict.fromkeys(path for table in tables for path in table)
    varied = [path for path in paths if len({table.get(path) for table in tables}) > 1]
    return [path for path in varied if not _in(path, _SEEDS)]


def kind(config: fdl.Config) -> str:
    """Returns a digest of all settings but seeds and those of the optimizers."""
    rows = [setting for setting in settings(config) if not trainable_together(setting.path)]
    return hashlib.sha256(to_text(rows).encode()).hexdigest()


def trainable_together(path: str) -> bool:
    """Returns whether runs that differ in this setting have the same model, losses and data."""
    return _in(path, (*_SEEDS, *_NUMBERS))


def numbers_at(config: fdl.Config, paths: Sequence[str]) -> dict[str, float] | None:
    """Returns the values at the paths; None if one is not a floating-point number in the configuration."""
    values = {path: _value_at(config, parse_path(path)) for path in paths}
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values.values()):
        return None
    return {path: float(value) for path, value in values.items()}


def with_numbers(config: fdl.Config, numbers: Mapping[str, Any]) -> Any:
    """Returns a copy of the configuration with other values, which may be traced arrays, at the paths."""
    changed = copied(config)
    for path, value in numbers.items():
        _replace(changed, parse_path(path), value)
    return changed


def _in(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in roots)


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, fdl.Buildable):
        return node.__arguments__[key] if key in node.__arguments__ else as_config(default_of(node, str(key)))
    return node[key]


def _value_at(node: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        node = _child(node, key)
    return node


def _replace(node: Any, path: Sequence[str | int], value: Any) -> Any:
    """Replaces the value at `path`; changes calls in place, copies containers. Returns the changed node."""
    key, *rest = path
    item = _replace(_child(node, key), rest, value) if rest else value
    if isinstance(node, fdl.Buildable):
        assign(node, key, item)
        return node
    if isinstance(node, Mapping):
        return {**node, key: item}
    index = int(key)
    return type(node)([*node[:index], item, *node[index + 1 :]])
