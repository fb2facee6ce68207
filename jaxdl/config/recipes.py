"""Discovery, import and listing of recipes, the Python files that build experiments.

A recipe is one file with `@auto_config def experiment(...) -> Experiment` (Fiddle's `auto_config`). It may also have
`def tiny() -> fdl.Config` and, if its sweep is more than seeds, `def sweep() -> list[dict]`. It may lie under
`experiments/`, in a folder of your own with its models in files beside it, or in an installed package.
"""

import ast
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxdl.config.imports import locate, release
from jaxdl.errors import UserError, nearest
from jaxdl.home import expanded

_AUTO_CONFIG = (
    " auto_config refuses if, for, comprehensions and lambdas: move the expression to a plain function outside"
    " experiment() and call that function"
)

_PACKAGES = ("experiments", "jaxdl", "tests", "benchmarks")  # folders of the repository that are imported from its root


@dataclass(frozen=True)
class Recipe:
    """An imported recipe.

    Attributes:
      module: Module with `experiment`, and optionally `tiny` and `sweep`.
      name: Name for `load_recipe`: the path from the repository's root, for example "experiments/cnn/digits.py";
        elsewhere the absolute path, or the dotted name in an installed package; "" for a function without an
        importable file (a notebook cell, `__main__`).
      path: File.
      family: Name of the file's folder, for example "cnn".
    """

    module: ModuleType
    name: str
    path: Path
    family: str


@dataclass(frozen=True)
class RecipeFile:
    """Metadata of a recipe, parsed without importing it.

    Attributes:
      name: Path from the root, for example "experiments/cnn/digits.py".
      path: File.
      family: Name of the file's folder.
      title: First line of the docstring, without the full stop.
      docstring: Module docstring. Empty if the recipe has none.
      metric: Module constant METRIC, for example "test/accuracy". None if the recipe has none.
    """

    name: str
    path: Path
    family: str
    title: str
    docstring: str
    metric: str | None


def repository_root() -> Path:
    """Returns the folder with the package `jaxdl`, and `experiments/` in a checkout."""
    return Path(__file__).resolve().parents[2]


def recipes(root: Path) -> list[RecipeFile]:
    """Returns the recipes in `root/experiments`, sorted by name.

    A file that does not parse is listed with its error as title. Files without a function `experiment`, and files whose
    name begins with "_", are not recipes.
    """
    return [recipe for path in _recipe_paths(root) if (recipe := _read(path, root)) is not None]


def recipe_file(name: str) -> RecipeFile | None:
    """Returns the metadata of a recipe named as for `load_recipe`, or None if it does not exist."""
    try:
        path, _ = _find(name)
    except UserError:
        return None
    root = repository_root()
    return _read(path, root if path.is_relative_to(root) else path.parent)


def load_recipe(name: str) -> Recipe:
    """Imports a recipe.

    Args:
      name: Path, absolute or relative to the working directory or the repository's root
        ("experiments/cnn/digits.py"), or dotted module name ("experiments.cnn.digits", "mylab.recipes.flowers").

    Raises:
      UserError: The file does not exist, contains an error (with its line), has no function `experiment` under
        `auto_config`, or its module name belongs to another file.
    """
    path, dotted = _find(name)
    release(import_name(path)[0])  # whoever names a file consents to its code
    module = import_recipe(path)
    if not hasattr(getattr(module, "experiment", None), "as_buildable"):
        raise UserError(
            f"{_display_path(path)} has no recipe: define `experiment(...) -> Experiment`"
            " and decorate it with fiddle.experimental.auto_config.auto_config"
        )
    return Recipe(module, dotted or _display_path(path), path, path.parent.name)


def recipe_path(name: str) -> Path:
    """Returns the file of a recipe from `Recipe.name`, which does not depend on the working directory.

    Raises:
      UserError: The file does not exist.
    """
    file = repository_root() / name if name.endswith(".py") else locate(name).get(name)
    if file is None or not file.is_file():
        raise UserError(f"recipe {name} does not exist; restore the file, or check out the commit in manifest.json")
    return file.resolve()


def as_recipe(experiment: Any) -> Recipe:
    """Returns a recipe that is given as such, by its name for `load_recipe`, or as `@auto_config` function.

    Raises:
      UserError: As `load_recipe`, or an object of another type.
    """
    if isinstance(experiment, Recipe):
        return experiment
    if isinstance(experiment, (str, os.PathLike)):
        return load_recipe(os.fspath(experiment))
    if hasattr(experiment, "as_buildable"):
        return _recipe_of(experiment)
    raise UserError(
        f"cannot train a {type(experiment).__name__}; pass an Experiment, a config, an @auto_config function or"
        " the path of a recipe"
    )


def _recipe_of(function: Any) -> Recipe:
    """Returns the recipe of an `@auto_config` function, with name "" without an importable file."""
    module = sys.modules.get(function.func.__module__)
    file = getattr(module, "__file__", None)
    if module is not None and file and module.__name__ != "__main__" and vars(module).get("experiment") is function:
        path = Path(file).resolve()
        return Recipe(module, _display_path(path), path, path.parent.name)
    name = function.func.__name__
    cell = ModuleType(name)
    vars(cell)["experiment"] = function
    return Recipe(cell, "", Path(f"{name}.py"), "")


def sweep(recipe: Recipe) -> list[dict[str, Any]]:
    """Returns {NAME: VALUE} for each run of the recipe's `sweep()`; by default seeds 0 to 4.

    Raises:
      UserError: An error in the recipe's `sweep()`.
    """
    if not callable(vars(recipe.module).get("sweep")):
        return [{"seed": seed} for seed in range(5)]
    try:
        return recipe.module.sweep()
    except UserError:
        raise
    except Exception as error:
        raise UserError(one_line(error, recipe.path)) from error


def one_line(error: BaseException, path: Path) -> str:
    """Returns `file:line: Error: message` for an error from `path` or a file that it imports."""
    message = " ".join(str(error).split()) or "no message"
    if isinstance(error, SyntaxError) and error.filename:
        remedy = _AUTO_CONFIG if type(error).__name__ == "UnsupportedLanguageConstructError" else ""
        return f"{_display_path(Path(error.filename))}:{error.lineno}: {type(error).__name__}: {error.msg}{remedy}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _users(frame.filename, path)]
    where = f"{_display_path(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else _display_path(path)
    return f"{where}: {type(error).__name__}: {message}"


def _users(filename: str, path: Path) -> bool:
    """Returns whether a frame's file is the recipe or beside it, and not in jaxdl or a package."""
    if filename == str(path):
        return True
    base, _ = import_name(path)
    inside = Path(filename).is_relative_to(base) and "site-packages" not in Path(filename).relative_to(base).parts
    return inside and not Path(filename).is_relative_to(Path(__file__).resolve().parents[1])


def _find(name: str) -> tuple[Path, str | None]:
    """Returns the file of a recipe, and its dotted name if it belongs to an installed package."""
    bases = (Path.cwd(), repository_root())
    if name.endswith(".py") or "/" in name:
        given = expanded(name if name.endswith(".py") else f"{name}.py")
        paths = [base / given for base in bases]
    else:
        paths = [base / (name.replace(".", "/") + ".py") for base in bases]
    for path in paths:
        if path.is_file():
            return path.resolve(), None
    if "/" not in name and not name.endswith(".py") and (path := locate(name).get(name)) and path.suffix == ".py":
        return path, name
    known = [_display_path(path.resolve()) for base in dict.fromkeys(bases) for path in _recipe_paths(base)]
    known += [str(path) for path in _beside(expanded(name))]
    kind = "file" if name.endswith(".py") else "recipe"
    raise UserError(f"no {kind} '{name}'; {nearest(name, set(known))}")


def import_name(path: Path) -> tuple[Path, str]:
    """Returns the folder for `sys.path`, and the file's dotted name from there.

    For the repository's own packages the folder is its root, elsewhere that of the file or of its outermost package.
    """
    root = repository_root()
    if any(path.is_relative_to(root / package) for package in _PACKAGES):
        parts = path.relative_to(root).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            return root, ".".join(parts)
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def import_recipe(path: Path) -> ModuleType:
    """Imports the file of a recipe; its folder is put first in `sys.path`. Raises UserError like `load_recipe`."""
    base, dotted = import_name(path)
    if not all(part.isidentifier() for part in dotted.split(".")):
        raise UserError(
            f"{_display_path(path)} cannot be imported as '{dotted}'; rename it to a Python name, such as my_recipe.py"
        )
    sys.path[:] = [str(base), *(entry for entry in sys.path if entry != str(base))]  # as Python does for a script
    importlib.invalidate_caches()
    try:
        if base == path.parent:
            _check_siblings(path)
        _check_origin(dotted, path)
        return importlib.import_module(dotted)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a recipe that ends the program would look like a success
        raise UserError(one_line(error, path)) from error


def _check_origin(dotted: str, path: Path) -> None:
    """Refuses a file whose module name belongs to another file."""
    if dotted in sys.modules:
        origin = getattr(sys.modules[dotted], "__file__", None)
    else:
        spec = importlib.util.find_spec(dotted)
        origin = spec.origin if spec else None
    if origin is None or Path(origin).resolve() != path:
        raise UserError(
            f"{_display_path(path)} would be imported as '{dotted}', which is {origin or 'a built-in module'};"
            " rename the file"
        )


def _check_siblings(path: Path) -> None:
    """Refuses a recipe that imports a sibling file whose module name belongs to another module."""
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        else:
            continue
        for name in names:
            sibling = path.parent / f"{name}.py"
            if name in sys.modules and sibling.is_file():
                origin = getattr(sys.modules[name], "__file__", None)
                if origin is None or Path(origin).resolve() != sibling:
                    raise UserError(
                        f"{_display_path(path)}:{node.lineno}: '{name}' is already imported from"
                        f" {origin or 'the interpreter'}, not from {sibling}; rename that file"
                    )


def _display_path(path: Path) -> str:
    """Returns the path from the repository's root; elsewhere the absolute path."""
    root = repository_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _recipe_paths(root: Path) -> Iterator[Path]:
    for path in sorted((root / "experiments").glob("**/*.py")):
        if not path.name.startswith(("_", ".")) and "__pycache__" not in path.parts:
            yield path


def _beside(path: Path) -> list[Path]:
    """Returns the recipes in the folder of a file that does not exist."""
    folder = path.parent
    files = sorted(folder.glob("[!_.]*.py")) if folder.is_dir() else []
    return [file for file in files if _read(file, folder) is not None]


def _read(path: Path, root: Path) -> RecipeFile | None:
    name, family = path.relative_to(root).as_posix(), path.parent.name
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        return RecipeFile(name, path, family, f"{name}:{error.lineno}: {error.msg}", "", None)
    if not any(isinstance(node, ast.FunctionDef) and node.name == "experiment" for node in tree.body):
        return None
    docstring = ast.get_docstring(tree) or ""
    title = docstring.partition("\n")[0].rstrip(".")
    return RecipeFile(name, path, family, title, docstring, _constant(tree.body, "METRIC"))


def _constant(body: Sequence[ast.stmt], name: str) -> str | None:
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(node, "value", None)
            return str(value.value) if isinstance(value, ast.Constant) else None
    return None
