"""Settings, differences and fingerprints of configurations."""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import fiddle as fdl
import numpy as np

from jaxdl.config.text import Setting, differences, observing, to_text
from jaxdl.errors import UserError

if TYPE_CHECKING:
    from jaxdl.config.experiment import Experiment


def settings(config: "fdl.Buildable | Experiment") -> list[Setting]:
    """Returns all arguments in the order of the signatures, defaults included."""
    return list(_settings(as_config(config), "", False))


def describe(config: "fdl.Buildable | Experiment") -> str:
    """Returns lines `path = value` with defaults marked, as in config.txt and `show`."""
    return to_text(settings(config))


def diff(config_a: fdl.Buildable, config_b: fdl.Buildable) -> list[tuple[str, str, str]]:
    """Returns (path, value in a, value in b) of the differences, as `jaxdl.config.text.differences`."""
    return differences(settings(config_a), settings(config_b))


def fingerprint(config: fdl.Buildable) -> str:
    """Returns the SHA-256, in hex, of all settings that affect results.

    It ignores the paths of `jaxdl.config.text.observing`, and arguments equal to their defaults. The manifest of a run
    records the commit of the code.

    Raises:
      UserError: A value without a public name, with its path.
    """
    tree = canonical(config)
    for path in observing(config.__arguments__.get("select") == "best"):
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.get("arguments", {}).get(parent, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node.get("arguments", {}).pop(name, None)
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def canonical(value: Any, path: str = "") -> Any:
    """Returns JSON objects that are equal exactly when configurations build equal experiments.

    Raises:
      UserError: A value without a public name (a lambda, an object created outside the recipe), with its path.
    """
    if _is_instance(value):
        value = as_config(value)
    if isinstance(value, fdl.Buildable):
        arguments = {}
        for name, argument in value.__arguments__.items():
            item = canonical(argument, join(path, name))
            if not (isinstance(name, str) and _is_default(value, name, item)):
                arguments[str(name)] = item
        call = canonical(fdl.get_callable(value), path)["name"]
        return {"call": call, "partial": isinstance(value, fdl.Partial), "arguments": arguments}
    if isinstance(value, Mapping):
        return {"mapping": {str(name): canonical(item, join(path, name)) for name, item in value.items()}}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)):
        arguments = {name: canonical(item, join(path, name)) for name, item in zip(names, value)}
        return {"call": canonical(type(value), path)["name"], "partial": False, "arguments": arguments}
    if isinstance(value, (list, tuple)):
        return [canonical(item, join(path, index)) for index, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(canonical(item, path), sort_keys=True) for item in value)}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if name := public_name(value):
        return {"name": ".".join(name)}
    raise UserError(
        f"{path or 'the experiment'} is {_leaf_text(value)} ({type(value).__name__}), which cannot be saved; use a"
        " function or class defined at module level, or make the call inside experiment()"
    )


def as_config(value: Any) -> Any:
    """Converts objects created outside `experiment()` to editable, serializable configurations.

    Converts dataclass instances to calls of their class, `functools.partial` to Fiddle's `Partial`, mappings to
    dictionaries and numpy dtypes to calls of `np.dtype`; also inside containers and arguments of calls.
    """
    if isinstance(value, fdl.Buildable):
        for name, argument in list(value.__arguments__.items()):
            if (changed := as_config(argument)) is not argument:
                assign(value, name, changed)
        return value
    if _is_instance(value):
        fields = [field for field in dataclasses.fields(value) if field.init and field.name != "parent"]
        given = {field.name: as_config(getattr(value, field.name)) for field in fields}
        config = fdl.Config(type(value))
        for name, item in given.items():
            if not _is_default(config, name, _canonical_or_text(item)):
                assign(config, name, item)
        return config
    if isinstance(value, functools.partial):
        return as_config(fdl.Partial(value.func, *value.args, **value.keywords))
    if isinstance(value, np.dtype):
        return fdl.Config(np.dtype, dtype=value.name)
    if isinstance(value, Mapping):
        changed = {name: as_config(item) for name, item in value.items()}
        same = type(value) is dict and all(changed[name] is value[name] for name in value)
        return value if same else changed
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        items = [as_config(item) for item in value]
        return type(value)(items) if any(new is not old for new, old in zip(items, value)) else value
    return value


def assign(config: fdl.Buildable, name: str | int, value: Any) -> None:
    """Sets an argument by name, or a variadic one by position."""
    if isinstance(name, int):
        config[name] = value
    else:
        setattr(config, name, value)


def default_of(config: fdl.Buildable, name: str) -> Any:
    """Returns the default of an argument; `inspect.Parameter.empty` without one."""
    field = getattr(fdl.get_callable(config), "__dataclass_fields__", {}).get(name)
    if field is not None and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    parameter = config.__signature_info__.parameters.get(name)
    return inspect.Parameter.empty if parameter is None else parameter.default


def argument_names(config: fdl.Buildable) -> list[str]:
    """Returns the arguments settable by name, without linen's `parent` and an unset `name`."""
    names = [*config.__signature_info__.valid_param_names, *(n for n in config.__arguments__ if isinstance(n, str))]
    hidden = set()
    if hasattr(fdl.get_callable(config), "init_with_output"):
        hidden = {name for name in ("parent", "name") if name not in config.__arguments__}
    return [name for name in dict.fromkeys(names) if name not in hidden]


def join(path: str, name: str | int) -> str:
    """Returns the path of an argument or item: `a.b`, `a[0]`, `a['not a name']`."""
    if isinstance(name, str) and name.isidentifier():
        return f"{path}.{name}" if path else name
    return f"{path}[{name!r}]"


@functools.cache
def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def public_name(value: Any) -> tuple[str, str] | None:
    """Returns the (module, name) from which a value can be imported, or None.

    Values are functions, classes, jitted functions and enum members.
    Public modules are preferred: `optax.sgd`, which is defined in `optax._src.alias`.
    """
    if isinstance(value, Enum):
        symbol = f"{type(value).__qualname__}.{value.name}"
    else:
        symbol = getattr(value, "__qualname__", None)
    module = getattr(value, "__module__", None)
    if not isinstance(symbol, str) or not isinstance(module, str) or "<" in symbol:
        return None
    candidates = [module]
    if "._" in module:
        public = [part for part in module.split(".") if not part.startswith("_")]
        candidates = [".".join(public[:length]) for length in range(len(public), 0, -1)] + candidates
    for candidate in candidates:
        target = _import(candidate)
        for part in symbol.split("."):
            target = getattr(target, part, None)
        if target is value or (inspect.ismethod(value) and target == value):
            return candidate, symbol
    return None


def _settings(value: Any, path: str, default: bool) -> Iterator[Setting]:
    if isinstance(value, fdl.Buildable):
        kind = "partial " if isinstance(value, fdl.Partial) else ""
        yield Setting(path, f"{kind}{_leaf_text(fdl.get_callable(value))}(...)", default)
        for name in [*argument_names(value), *(n for n in value.__arguments__ if isinstance(n, int))]:
            if name in value.__arguments__:
                yield from _settings(value.__arguments__[name], join(path, name), default)
            elif (unset := default_of(value, str(name))) is not inspect.Parameter.empty:
                yield from _settings(as_config(unset), join(path, name), True)
    elif isinstance(value, Mapping) and _has_calls(value):
        for name, item in value.items():
            yield from _settings(item, join(path, name), default)
    elif isinstance(value, (list, tuple)) and _has_calls(value):
        for index, item in enumerate(value):
            yield from _settings(item, join(path, index), default)
    else:
        yield Setting(path, _leaf_text(value), default)


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _has_calls(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_calls(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_calls(item) for item in value)
    return isinstance(value, fdl.Buildable)


def _leaf_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: {_leaf_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "(" + ", ".join(map(_leaf_text, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_leaf_text, value)) + "]"
    if isinstance(value, str):
        return repr(value)
    if name := public_name(value):
        return ".".join(name).removeprefix("builtins.")
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))


def _canonical_or_text(value: Any) -> Any:
    """Returns the canonical form; text for defaults that cannot be saved."""
    try:
        return canonical(as_config(value))
    except UserError:
        return {"text": _leaf_text(value)}


def _is_default(config: fdl.Buildable, name: str, item: Any) -> bool:
    default = default_of(config, name)
    return default is not inspect.Parameter.empty and _canonical_or_text(default) == item
