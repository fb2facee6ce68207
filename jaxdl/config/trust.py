"""Consent to code that a saved configuration runs, checked before anything is imported.

config.json names a recipe file and the functions and classes that build the experiment. A run folder may come from
another person, so only these run without consent: the symbols in `jaxdl.config.symbols`, the recipes in `experiments/`,
and code that this user has trusted. Trusted are

- a local file, by its path and content, with the local modules that its import statements name;
- for any other symbol, such as `subprocess.call`, the configuration as a whole.

Training trusts the code that it runs, and `--trust` that of a run folder. The digests are the names of files in
`$XDG_CONFIG_HOME/jaxdl/trusted`, by default `~/.config/jaxdl/trusted`; to end the trust, delete them.
"""

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.config.imports import Guard, closure, defines, is_local, locate
from jaxdl.config.recipes import import_name, recipe_path, repository_root
from jaxdl.config.symbols import is_listed
from jaxdl.errors import UserError, warn
from jaxdl.home import expanded

_DATASET = ("jaxdl.data.dataset", "Dataset")
trusted_here: set[str] = set()  # also if the store cannot be written


class Code(NamedTuple):
    """Code that a configuration runs, without listed symbols.

    Attributes:
      files: {local file: symbols that are defined in it and used}, without those of the repository's recipes.
      symbols: Symbols of installed packages, and those that their module does not define.
      folder: Folder that the import of the recipe adds to `sys.path`. None without a recipe.
    """

    files: dict[Path, list[str]]
    symbols: list[str]
    folder: Path | None


def check(saved: Mapping[str, Any], where: str) -> None:
    """Checks that the code of a configuration is trusted, and guards its import.

    Args:
      saved: Content of config.json.
      where: Path for the message.

    Raises:
      UserError: Code that is not trusted. The message names the files and symbols.
    """
    code = _code_of(saved)
    names = [*code.symbols] if code.symbols and not _is_trusted(_config_digest(saved)) else []
    names += [
        f"{file} ({', '.join(symbols)})" if symbols else str(file)
        for file, symbols in code.files.items()
        if not _is_trusted(_file_digest(file))
    ]
    if names:
        raise UserError(
            f"{where} runs code that you have not trusted, or that has changed since: {', '.join(names)}; read it, then"
            " pass --trust (in Python trust=True)"
        )
    if code.files:
        _guard(code)


def accept(saved: Mapping[str, Any], loaded: bool = False) -> None:
    """Trusts the code of a configuration as it is now.

    If the store cannot be written, it is trusted in this process only, with a warning.

    Args:
      saved: Content of config.json.
      loaded: Whether imported modules beside the recipe are trusted too, which no import statement may name.
    """
    code = _code_of(saved)
    beside = _loaded_files(code.folder) if loaded and code.files and code.folder is not None else []
    entries = {_file_digest(file): str(file) for file in (*code.files, *beside)}
    if entries or code.symbols:  # also with files only, which may be missing from another process's search path
        entries[_config_digest(saved)] = " ".join(["configuration", *code.symbols])
    new = {digest: text for digest, text in entries.items() if not _is_trusted(digest)}
    trusted_here.update(new)
    try:
        for digest, text in new.items():
            _store().mkdir(parents=True, exist_ok=True)
            (_store() / digest).write_text(f"{text}\n", errors="backslashreplace")
    except (OSError, UserError) as error:  # UserError: the home folder is unknown
        warn(f"cannot remember trusted code ({error}); open the run with --trust")


def _loaded_files(folder: Path) -> list[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = {Path(file).resolve() for file in files if file}
    local = (path for path in paths if path.is_relative_to(folder) and path.is_file() and is_local(path))
    return sorted(path for path in local if not _in_repository(path))


def _code_of(saved: Mapping[str, Any]) -> Code:
    modules, folder, own = dict[str, Path](), None, ""
    importlib.invalidate_caches()  # of the files in folders, which may be new
    if recipe := str(saved["recipe"]):
        path = recipe_path(recipe)
        folder, dotted = import_name(path)
        modules, own = {**locate(dotted, folder), dotted: path}, dotted.partition(".")[0]
    used = sorted({symbol for symbol in _symbols_of(saved["config"]) if not is_listed(*symbol)})
    for module in {module for module, _ in used} - {"__main__"}:  # another file in every process
        modules = {**locate(module, folder), **modules}

    def follow(name: str, file: Path) -> bool:
        return is_local(file) or name.partition(".")[0] == own  # also the package of an installed recipe

    found = closure(modules, follow, folder)
    files: dict[Path, list[str]] = {file: [] for file in sorted(found.values()) if not _in_repository(file)}
    others = []
    for module, name in used:
        file = found.get(module)
        if file is None or (name and not defines(file, name)):
            others.append(".".join(filter(None, (module, name))))
        elif name and file in files:
            files[file].append(name)
    return Code(files, others, folder)


def _symbols_of(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (module, name) of every reference in a configuration; name "" for the module of a user's data set."""
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            if node.get("type") == "pyref":
                yield str(node["module"]), str(node["name"])
            elif (name := _data_set(node, config["objects"])) and "." in name and ":" not in name:
                yield name, ""


def _data_set(node: Mapping[str, Any], objects: Mapping[str, Any]) -> str:
    """Returns the name of a `Dataset`, "" for any other node. Fiddle reads items by position, not by their labels."""

    def value(node: Any) -> Any:
        kind = node.get("type") if isinstance(node, dict) else None
        return value(objects[node["key"]]) if kind == "ref" else node["value"] if kind == "leaf" else node

    def items(node: Any) -> list[Any]:
        node = value(node)
        pairs = node.get("items", ()) if isinstance(node, dict) else ()
        return node if isinstance(node, list) else [value(item) for _, item in value(pairs)]

    called, *described = items(node.get("metadata")) or [None]
    if not isinstance(called, dict) or (called.get("module"), called.get("name")) != _DATASET:
        return ""
    arguments = dict(zip(items(described[0]), items(node)))
    if not isinstance(arguments.get("name"), str):
        raise ValueError("the name of a Dataset is not a text")
    return arguments["name"]


def _in_repository(file: Path) -> bool:
    root = repository_root()
    return file.is_relative_to(root / "experiments") or file.is_relative_to(root / "jaxdl")


def _guard(code: Code) -> None:
    guard = next((finder for finder in sys.meta_path if isinstance(finder, Guard)), None)
    if guard is None:
        guard = Guard(lambda file, content: _is_trusted(_digest(str(file), content)))
        sys.meta_path.insert(0, guard)
    guard.files.update(code.files)
    if code.folder is not None and code.folder not in (Path(entry or ".").resolve() for entry in sys.path):
        guard.folders.add(code.folder)


def _store() -> Path:
    return expanded(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "jaxdl" / "trusted"


def _is_trusted(digest: str) -> bool:
    if digest in trusted_here:
        return True
    try:
        return (_store() / digest).exists()
    except (OSError, UserError):  # not readable, or the home folder is unknown
        return False


def _file_digest(file: Path) -> str:
    return _digest(str(file), file.read_bytes())


def _config_digest(saved: Mapping[str, Any]) -> str:
    return _digest("config.json", json.dumps([saved["recipe"], saved["config"]], sort_keys=True).encode())


def _digest(name: str, content: bytes) -> str:
    return hashlib.sha256(os.fsencode(name) + b"\0" + content).hexdigest()
