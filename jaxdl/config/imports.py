"""Files behind module names and import statements, found without importing anything, and guarded imports of them."""

import ast
import pkgutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from jaxdl.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = tuple({Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")})
# Before a recipe extends sys.path: a folder that is merely named site-packages is not installed.
_SITES = tuple(Path(entry).resolve() for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages"))


def is_local(file: Path) -> bool:
    """Returns whether a file belongs to neither jaxdl, the standard library nor an installed package."""
    return not any(file.is_relative_to(folder) for folder in (_PACKAGE, *_STANDARD, *_SITES))


def locate(name: str, folder: Path | None = None) -> dict[str, Path]:
    """Returns {module: file} of a module and its parent packages, as far as they are found.

    Imported modules have the file that they were imported from. Nothing is imported.

    Args:
      name: Dotted name.
      folder: Folder that is searched before `sys.path`.
    """
    files: dict[str, Path] = {}
    places: Sequence[str] | None = None
    for full in _prefixes(name):
        if (module := sys.modules.get(full)) is not None:
            file, places = getattr(module, "__file__", None), list(getattr(module, "__path__", ()))
        elif (spec := _top(full, folder) if places is None else _find(full, places)) is not None:
            file, places = spec.origin if spec.has_location else None, list(spec.submodule_search_locations or ())
        else:
            break
        if file is not None:
            files[full] = Path(file).resolve()
    return files


def closure(
    modules: Mapping[str, Path], follow: Callable[[str, Path], bool], folder: Path | None = None
) -> dict[str, Path]:
    """Returns {module: file} of modules and of the modules that their import statements name, at any depth.

    Args:
      modules: {module: file} to start from.
      follow: (module, file) -> whether it is included.
      folder: As in `locate`.
    """
    waiting, files = dict(modules), dict[str, Path]()
    while waiting:
        name, file = waiting.popitem()
        if name not in files and follow(name, file):
            files[name] = file
            for imported in _imported(name, file):
                waiting |= locate(imported, folder)
    return files


def defines(file: Path, name: str) -> bool:
    """Returns whether a source file defines a function, a class or a member of a class at module level."""
    first, *members = name.split(".")
    for node in _parsed(file).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == first:
            inside = _members(node) if isinstance(node, ast.ClassDef) else ()
            return not members or (len(members) == 1 and members[0] in inside)
    return False


def _members(node: ast.ClassDef) -> Iterator[str]:
    for line in node.body:
        if isinstance(line, ast.FunctionDef):
            yield line.name
        elif isinstance(line, ast.Assign):
            yield from (target.id for target in line.targets if isinstance(target, ast.Name))


def _imported(name: str, file: Path) -> Iterator[str]:
    """Yields the names in the import statements of a module, `a` and `a.b` for `from a import b`."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            yield from filter(None, (source, *(".".join(filter(None, (source, a.name))) for a in node.names)))


def _parsed(file: Path) -> ast.Module:
    """Returns the syntax tree; an empty one for a file that Python cannot parse, and hence not run as source."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _top(name: str, folder: Path | None) -> ModuleSpec | None:
    """Returns the spec of a top-level module. Finders of sys.meta_path do not import top-level modules."""
    if folder is not None and (spec := _find(name, [str(folder)])) is not None:
        return spec
    specs = (finder.find_spec(name, None) for finder in sys.meta_path if not isinstance(finder, Guard))
    return next((spec for spec in specs if spec is not None), None)


def _find(full: str, places: Sequence[str]) -> ModuleSpec | None:
    namespace: list[str] = []
    for place in places:
        finder = pkgutil.get_importer(place)
        spec = finder.find_spec(full) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        namespace += (spec.submodule_search_locations or ()) if spec is not None else ()
    if not namespace:
        return None
    spec = ModuleSpec(full, None)
    spec.submodule_search_locations = namespace
    return spec


class Guard(MetaPathFinder):
    """Finder that admits the code of a folder, which another person may have written, file by file.

    A file such as `soundfile.py` beside a recipe would otherwise be imported by any library that looks for a module of
    that name. Python files are compiled from the content that was admitted, never from `__pycache__`, whose files a
    folder can bring along.

    Attributes:
      files: Guarded files.
      folders: Folders, all files of which are guarded if they are local.
    """

    def __init__(self, admits: Callable[[Path, bytes], bool]):
        """
        Args:
          admits: (file, content) -> whether it may run.
        """
        self.files: set[Path] = set()
        self.folders: set[Path] = set()
        self._admits = admits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec of a guarded module, or None for any other. Raises UserError if it may not run."""
        if target is not None:  # of importlib.reload
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None or not spec.has_location:
            return None
        file = Path(spec.origin).resolve()
        if file not in self.files and not (is_local(file) and any(file.is_relative_to(one) for one in self.folders)):
            return None
        self.read(file)
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _AdmittedLoader(fullname, spec.origin, self)
        return spec

    def read(self, file: Path) -> bytes:
        """Returns the content of a file that may run. Raises UserError for another one."""
        content = file.read_bytes()
        if not self._admits(file, content):
            raise UserError(
                f"{file} would be imported, but it is not among the trusted files: no import statement of the recipe"
                " names it, or it has just changed; remove or rename it"
            )
        return content


class _AdmittedLoader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, guard: Guard):
        super().__init__(fullname, path)
        self._guard = guard

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._guard.read(Path(self.path).resolve()), self.path)


def release(folder: Path) -> None:
    """Ends the guard of a folder."""
    for guard in sys.meta_path:
        if isinstance(guard, Guard):
            guard.folders.discard(folder)
            guard.files = {file for file in guard.files if not file.is_relative_to(folder)}
