"""Type check and conversion of literals against annotations."""

import collections.abc
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import fiddle as fdl

_SEQUENCES = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)

_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

_NAMES = {
    int: "an int",
    float: "a number",
    bool: "True or False",
    str: "a string",
    type(None): "None",
    dict: "a dict",
    list: "a list",
    tuple: "a tuple",
}


class Fit(typing.NamedTuple):
    """Result of a check.

    Attributes:
      ok: Whether the value fits. None if the annotation does not determine it.
      value: Value converted to the annotated type (an int to float, a list to tuple).
    """

    ok: bool | None
    value: Any


def annotation_of(function: Callable[..., Any], name: str) -> Any:
    """Returns the annotation of an argument of a function or class; None if unknown."""
    target: Any = function
    if isinstance(function, type) and not dataclasses.is_dataclass(function):
        target = function.__init__
    try:
        return _hints(target)[name]
    except (NameError, TypeError, AttributeError, KeyError):  # imported under TYPE_CHECKING, or not annotated
        parameter = inspect.signature(function).parameters.get(name)
    annotation = inspect.Parameter.empty if parameter is None else parameter.annotation
    return None if annotation is inspect.Parameter.empty or isinstance(annotation, str) else annotation


@functools.cache
def _hints(target: Any) -> dict[str, Any]:
    return typing.get_type_hints(target, include_extras=True)


def fit(value: Any, annotation: Any) -> Fit:
    """Checks a Python literal against an annotation."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is object or isinstance(annotation, (str, typing.TypeVar, typing.ForwardRef)):
        return Fit(None, value)
    if origin is typing.Annotated:
        return fit(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _fit_any(value, arguments)
    if origin is typing.Literal:
        return Fit(any(value == item and type(value) is type(item) for item in arguments), value)
    if origin is type:
        return _fit_class(value, arguments[0])
    kind = origin or annotation
    if kind is None or kind is type(None):
        return Fit(value is None, value)
    if kind in (bool, str, bytes):
        return Fit(isinstance(value, kind), value)
    if kind is int:
        return Fit(isinstance(value, int) and not isinstance(value, bool), value)
    if kind in (float, complex):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return Fit(True, float(value))
        return Fit(False, value)
    if kind is tuple:
        return _fit_tuple(value, arguments)
    if kind in _SEQUENCES:
        return _fit_items(value, arguments)
    if kind in _MAPPINGS:
        return _fit_mapping(value, arguments)
    if isinstance(kind, type) and isinstance(value, str) and value in (classes := named_classes(kind)):
        return Fit(True, fdl.Config(classes[value]))
    return Fit(False, value) if isinstance(kind, type) or kind is collections.abc.Callable else Fit(None, value)


def fit_like(value: Any, present: Any) -> Fit:
    """Checks a literal against the type of the present value, if the annotation is too general."""
    for kind in (bool, float, str, tuple, list):
        if isinstance(present, kind):
            return fit(value, kind)
    if isinstance(present, int):
        return fit(value, float if isinstance(value, float) else int)
    return Fit(None, value)


def describe(annotation: Any) -> str:
    """Returns an annotation in words: "an int", "a number or None"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if annotation is None:
        return "None"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_plain(list(dict.fromkeys(describe(item) for item in arguments))))
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is typing.Annotated:
        return describe(arguments[0])
    if origin is type and isinstance(arguments[0], type):
        return " or ".join(sorted(subclasses(arguments[0]))) or f"a subclass of {arguments[0].__name__}"
    if collections.abc.Callable in (origin, annotation):
        return "a function"
    if origin is not None:
        inner = ", ".join("..." if item is Ellipsis else getattr(item, "__name__", str(item)) for item in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    if isinstance(annotation, type) and (classes := named_classes(annotation)):
        return " or ".join(sorted(classes))
    return getattr(annotation, "__name__", str(annotation))


def named_classes(base: type) -> dict[str, type]:
    """Returns the classes that a name selects where `base`, a class of jaxdl, is expected.

    They are those that need no arguments: `base` and its subclasses, or for a protocol the classes of its module.
    """
    if not base.__module__.startswith("jaxdl."):
        return {}
    classes = _of_protocol(base) if getattr(base, "_is_protocol", False) else {base.__name__: base} | subclasses(base)
    return {name: kind for name, kind in classes.items() if not inspect.isabstract(kind) and not _required(kind)}


def _of_protocol(protocol: type) -> dict[str, type]:
    """Returns the classes of a protocol's module that have its members."""
    members = {name for name in vars(protocol) if not name.startswith("_")}
    classes = [value for value in vars(sys.modules[protocol.__module__]).values() if isinstance(value, type)]
    return {
        kind.__name__: kind
        for kind in classes
        if kind.__module__ == protocol.__module__
        and not getattr(kind, "_is_protocol", False)
        and members <= {*dir(kind), *getattr(kind, "__dataclass_fields__", ())}
    }


def _required(function: Callable[..., Any]) -> bool:
    """Returns whether a call needs arguments."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return any(p.default is inspect.Parameter.empty and p.kind not in variadic for p in parameters)


def subclasses(base: type) -> dict[str, type]:
    """Returns all subclasses of `base` by name."""
    classes: dict[str, type] = {}
    for child in base.__subclasses__():
        classes |= {child.__name__: child} | subclasses(child)
    return classes


def _fit_class(value: Any, base: Any) -> Fit:
    """Checks the name of a subclass of `base`."""
    if not isinstance(base, type) or not isinstance(value, str):
        return Fit(isinstance(value, type) and issubclass(value, base), value)
    classes = subclasses(base)
    return Fit(value in classes, classes.get(value, value))


def _plain(words: list[str]) -> list[str]:
    """Returns the alternatives without arrays and NumPy scalars, which a number replaces."""
    if "a number" in words:
        return [word for word in words if word in ("a number", "a string", "None", "a function")]
    return words


def _fit_any(value: Any, annotations: tuple[Any, ...]) -> Fit:
    """Prefers the first annotation that fits without conversion, then the first that fits."""
    fits = [fit(value, annotation) for annotation in annotations]
    for ok in (True, None):
        matches = [match for match in fits if match.ok is ok]
        unchanged = [match for match in matches if type(match.value) is type(value)]
        if matches:
            return (unchanged or matches)[0]
    return Fit(False, value)


def _fit_items(value: Any, arguments: tuple[Any, ...]) -> Fit:
    if not isinstance(value, (list, tuple)):
        return Fit(False, value)
    fits = [fit(item, arguments[0]) if arguments else Fit(True, item) for item in value]
    return Fit(all(item.ok is not False for item in fits), type(value)(item.value for item in fits))


def _fit_tuple(value: Any, arguments: tuple[Any, ...]) -> Fit:
    if not isinstance(value, (list, tuple)):
        return Fit(False, value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _fit_items(tuple(value), arguments[:1])
    if arguments and len(arguments) != len(value):
        return Fit(False, value)
    fits = [fit(item, annotation) for item, annotation in zip(value, arguments)] or [Fit(True, item) for item in value]
    return Fit(all(item.ok is not False for item in fits), tuple(item.value for item in fits))


def _fit_mapping(value: Any, arguments: tuple[Any, ...]) -> Fit:
    if not isinstance(value, dict):
        return Fit(False, value)
    fits = {name: fit(item, arguments[1]) if arguments else Fit(True, item) for name, item in value.items()}
    return Fit(all(item.ok is not False for item in fits.values()), {name: item.value for name, item in fits.items()})
