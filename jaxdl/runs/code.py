"""Digests of the code that a configuration uses: recipe, models, tasks, the modules they import, and jaxdl."""

import ast
import functools
import hashlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import fiddle as fdl
import jax
from fiddle import daglish

from jaxdl.config.recipes import load_recipe, repository_root
from jaxdl.config.settings import as_config
from jaxdl.errors import UserError

_PACKAGE = repository_root() / "jaxdl"
_INSTALLED = {"site-packages", "dist-packages"}
# Packages of jaxdl that do not affect results.
_OBSERVING = ("commands", "launchers", "report", "runs", "testing", "viz")


def digests(config: Any, recipe: str = "") -> dict[str, str]:
    """Returns {module: SHA-256 of its file} of the code outside of installed packages, with one entry for "jaxdl".

    The modules are those of the recipe and of every function and class in the configuration, and the modules that these
    import. A class of a notebook cell has the digest of its source. The package of an installed recipe is included.
    The digest of jaxdl covers the packages that affect results.

    Args:
      config: Configuration or Experiment.
      recipe: Name of the recipe, as for `jaxdl.config.recipes.load_recipe`. "" for none.
    """
    top = "" if recipe.endswith(".py") else recipe.partition(".")[0]
    waiting = [load_recipe(recipe).module] if recipe else []
    sources: dict[str, str] = {}
    for value in _callables(config):
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        if module is not None and _file(module) is None and module.__name__ == "__main__":
            sources |= _cell(value)
        elif module is not None:
            waiting.append(module)
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if file is None or module.__name__ in sources or not _is_local(file, module.__name__, top):
            continue
        content = file.read_bytes()
        sources[module.__name__] = hashlib.sha256(content).hexdigest()
        waiting += _imports(module, content)
    return {"jaxdl": _package_digest(), **dict(sorted(sources.items()))}


def changes(then: Mapping[str, str] | None, now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Returns (module, digest then, digest now) of the modules that differ, with digests of eight digits.

    Args:
      then: `digests` in the manifest of a run. None: an older manifest, without them.
      now: `digests` of another run, or of today.
    """
    if then is None:
        return []
    rows = [(name, then.get(name, "absent")[:8], now.get(name, "absent")[:8]) for name in sorted({*then, *now})]
    return [row for row in rows if row[1] != row[2]]


def blame(error: BaseException) -> UserError | None:
    """Returns a usage error "FILE:LINE: TYPE: MESSAGE" for an exception that passed through code outside jaxdl.

    Installed packages do not count. None if no such code was involved, or for an error of XLA's compiler or a device.
    """
    if isinstance(error, jax.errors.JaxRuntimeError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename[0] != "<" and _is_local(Path(frame.filename), "", "/")]
    if not own:
        return None
    message = " ".join(str(error).split())[:300] or "no message"
    where = os.path.relpath(own[-1].filename) if Path(own[-1].filename).is_relative_to(Path.cwd()) else own[-1].filename
    return UserError(f"{where}:{own[-1].lineno}: {type(error).__name__}: {message}; --debug shows the traceback")


@contextmanager
def user_errors() -> Iterator[None]:
    """Turns an exception of code outside jaxdl, such as a user's model, into a usage error of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (known := blame(error)) is None:
            raise
        raise known from error


@functools.cache
def _package_digest() -> str:
    total = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        name = file.relative_to(_PACKAGE)
        if name.parts[0] not in _OBSERVING:
            total.update(f"{name.as_posix()}\0".encode() + file.read_bytes())
    return total.hexdigest()


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) and file.endswith(".py") and Path(file).is_file() else None


def _is_local(file: Path, name: str, top: str) -> bool:
    if file.is_relative_to(_PACKAGE):
        return False
    standard = any(file.is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
    return name.partition(".")[0] == top or not (standard or _INSTALLED & set(file.parts))


def _callables(config: Any) -> Iterator[Any]:
    """Yields the functions and classes of a configuration, and of the values in it."""
    for value, _ in daglish.iterate(as_config(config)):
        if isinstance(value, fdl.Buildable):
            yield fdl.get_callable(value)
        elif callable(value):
            yield value


def _cell(value: Any) -> dict[str, str]:
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        return {}
    return {f"__main__.{value.__qualname__}": hashlib.sha256(source.encode()).hexdigest()}


def _imports(module: ModuleType, content: bytes) -> Iterator[ModuleType]:
    """Yields the imported modules that the import statements of a file name."""
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    for node in ast.walk(ast.parse(content)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            names = [source, *(f"{source}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            parents = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
            yield from (sys.modules[parent] for parent in parents if parent in sys.modules)
