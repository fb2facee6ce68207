"""Lookup of data sets by name, and their preparation on first use."""

import ast
import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxdl.data.store import prepared
from jaxdl.data.store.prepare import lock, write
from jaxdl.data.store.prepared import Damaged, Prepared, folder_of
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError, nearest
from jaxdl.home import expanded

BUILDERS = "jaxdl.data.builders"


def builder_names() -> list[str]:
    """Returns the names of the data sets in `jaxdl/data/builders`."""
    return sorted(path.stem for path in (Path(__file__).parents[1] / "builders").glob("[!_]*.py"))


def prepare(name: str, force: bool = False) -> Prepared:
    """Prepares a data set; does nothing if it is prepared and passes full verification.

    Args:
      name: Module in `jaxdl/data/builders`, dotted module that defines `Builder`, or `tfds:NAME[/config]`.
      force: Whether to prepare it again in any case.

    Raises:
      UserError: The data set does not exist or cannot be downloaded.
    """
    _check_name(name)
    with lock(folder_of(name)):
        try:
            current = None if force else _current(name)
            if current is not None:
                current.verify(full=True)
                return current
        except Damaged as error:
            print(f"{error} (repairing it now)", file=sys.stderr)
        return _make(name)


def ready(name: str) -> Prepared:
    """Returns the prepared data set and prepares it first if necessary; does not repair damage.

    Raises:
      UserError: The data set does not exist, cannot be downloaded, or has a damaged file.
    """
    _check_name(name)
    current = _current(name)
    if current is None:
        with lock(folder_of(name)):
            current = _current(name) or _make(name)
    current.verify()
    return current


def _check_name(name: str) -> None:
    """Refuses a name that is a path to another place than `data_home()`, or TFDS's code of a community (`tfds:A:B`)."""
    if not re.fullmatch(r"(tfds:)?[\w+-]+([./][\w+-]+)*", name):
        raise UserError(f"data set '{name}' does not exist; {nearest(name, builder_names())}")


def _current(name: str) -> Prepared | None:
    """Returns the prepared version that matches the builder.

    The builder is imported only if necessary.
    """
    folder = folder_of(name)
    versions = prepared.versions(folder)
    if name.startswith("tfds:"):
        return prepared.read_version(folder, versions[0]) if versions else None
    wanted = _version(_module_path(name))
    if versions and wanted is None:
        wanted = str(_builder_class(name).VERSION)
    return prepared.read_version(folder, wanted) if wanted in versions else None


def _version(path: Path) -> str | None:
    """Parses `VERSION = tfds.core.Version("...")` from the source of `Builder`, else None."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ClassDef) and node.name == "Builder":
            for line in node.body:
                match line:
                    case ast.Assign([ast.Name("VERSION")], ast.Call(args=[ast.Constant(str(version))])):
                        return version
    return None


def _module(name: str) -> str:
    return name if "." in name else f"{BUILDERS}.{name}"


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _module_path(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(_module(name)) if _is_dotted(name) else None
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        hint = "a dotted name must be an importable module that defines Builder" if "." in name else ""
        raise UserError(f"data set '{name}' does not exist; {hint or nearest(name, builder_names())}")
    return Path(spec.origin)


def _builder_class(name: str) -> Any:
    tfds = tensorflow_datasets()
    # A user's builder may share the name of one in TFDS, which registration would refuse.
    with tfds.core.registered.skip_registration():
        module: ModuleType = importlib.import_module(_module(name))
    try:
        return module.Builder
    except AttributeError:
        raise UserError(f"module {module.__name__} does not define a class Builder; add one (a TFDS builder)") from None


def _make(name: str) -> Prepared:
    if name.startswith("tfds:"):
        return _make_tfds(name)
    _module_path(name)
    builder = _builder_class(name)
    return write(folder_of(name), lambda folder: builder(data_dir=folder))


def _make_tfds(name: str) -> Prepared:
    tfds = tensorflow_datasets()
    wanted = name.removeprefix("tfds:")
    try:
        existing = _elsewhere(tfds, wanted)
        return write(folder_of(name), lambda folder: tfds.builder(wanted, data_dir=folder), existing=existing)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        hint = nearest(wanted, known).split("names that exist")[0]
        raise UserError(f"TFDS has no data set '{wanted}' among its {len(known)}; {hint or 'check the name'}") from None


def _elsewhere(tfds: Any, wanted: str) -> Path | None:
    """Returns the copy in TFDS's own data directory, if its format allows random access."""
    home = expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    if not (home / wanted.split("/")[0].split(":")[0]).is_dir():
        return None
    builder = tfds.builder(wanted, data_dir=home, try_gcs=False)
    usable = builder.is_prepared() and builder.info.file_format.value == "array_record"
    return Path(builder.data_path) if usable else None
