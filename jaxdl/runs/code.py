"""Digests of the code that a configuration uses: recipe, models, tasks, the modules they import, and jaxdl."""

import functools
import hashlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
from fiddle import daglish

from jaxdl.config.imports import closure, is_local
from jaxdl.config.recipes import import_recipe, recipe_path, repository_root
from jaxdl.config.settings import as_config
from jaxdl.errors import UserError

_PACKAGE = repository_root() / "jaxdl"
_RESULT = re.compile(rb"^Result: .*$", re.MULTILINE)  # of a recipe's docstring, which `record` writes
# Packages of jaxdl that do not affect results.
_OBSERVING = ("commands", "launchers", "report", "runs", "testing", "viz")


def digests(config: Any, recipe: str = "") -> dict[str, str]:
    """Returns {module: SHA-256 of its file} of the code outside of installed packages, with one entry for "jaxdl".

    The modules are those of the recipe and of every function and class in the configuration, and the modules that these
    import. A class of a notebook cell has the digest of its source. The package of an installed recipe is included.
    The digest of jaxdl covers the packages that affect results, that of a recipe not the line "Result:".

    Args:
      config: Configuration or Experiment.
      recipe: Name of the recipe, as in `jaxdl.config.recipes.Recipe`. "" for none.
    """
    top = "" if recipe.endswith(".py") else recipe.partition(".")[0]
    modules = [import_recipe(recipe_path(recipe))] if recipe else []
    sources: dict[str, str] = {}
    for value in _callables(config):
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        if module is not None and getattr(module, "__file__", None) is None and module.__name__ == "__main__":
            sources |= _cell(value)
        elif module is not None:
            modules.append(module)
    files = {module.__name__: Path(module.__file__).resolve() for module in modules if module.__file__}

    def follow(name: str, file: Path) -> bool:
        return is_local(file) or (name.partition(".")[0] == top and not file.is_relative_to(_PACKAGE))

    for name, file in closure(files, follow).items():
        sources[name] = hashlib.sha256(_RESULT.sub(b"", file.read_bytes(), count=1)).hexdigest()
    return {"jaxdl": _package_digest(), **dict(sorted(sources.items()))}


def blame(error: BaseException) -> UserError | None:
    """Returns a usage error "FILE:LINE: TYPE: MESSAGE" for an exception that passed through code outside jaxdl.

    Installed packages do not count. None if no such code was involved, or for an error of XLA's compiler or a device.
    """
    if isinstance(error, jax.errors.JaxRuntimeError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename[0] != "<" and is_local(Path(frame.filename))]
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
