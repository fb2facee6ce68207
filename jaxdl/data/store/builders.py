"""From a data set's name to its prepared folder, which is made on first use."""

import ast
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxdl.data.store import prepared
from jaxdl.data.store.prepare import lock, write
from jaxdl.data.store.prepared import Damaged, Prepared, folder_of
from jaxdl.data.store.tfds import tensorflow_datasets
from jaxdl.errors import UserError, nearest

BUILDERS = "jaxdl.data.builders"


def builder_names() -> list[str]:
    """The data sets that jaxdl has a builder for: the files of `jaxdl/data/builders`."""
    return sorted(path.stem for path in (Path(__file__).parents[1] / "builders").glob("[!_]*.py"))


def prepare(name: str, force: bool = False) -> Prepared:
    """Makes a data set ready to load; does nothing if it is there and every byte of it is right.

    Args:
      name: a builder's file name, a dotted module that defines `Builder`, or `tfds:NAME[/config]`.
      force: make it again in any case.

    Raises:
      UserError: no such data set, or it cannot be had from here.
    """
    with lock(folder_of(name)):
        try:
            found = None if force else _current(name)
            if found is not None:
                found.verify(full=True)
                return found
        except Damaged as error:
            print(f"{error} (which now happens)", file=sys.stderr)
        return _make(name)


def ready(name: str) -> Prepared:
    """The prepared data set, made now if it is not there; damage is an error, not mended.

    Raises:
      UserError: no such data set, it cannot be had from here, or a file of it is damaged.
    """
    found = _current(name)
    if found is None:
        with lock(folder_of(name)):
            found = _current(name) or _make(name)
    found.verify()
    return found


def _current(name: str) -> Prepared | None:
    """The prepared version that belongs to the builder as it is now, found without importing it where possible."""
    versions = prepared.find(folder_of(name))
    if name.startswith("tfds:"):
        return versions[0] if versions else None
    wanted = _version(_module_path(name))
    if versions and wanted is None:
        wanted = str(_builder_class(name).VERSION)
    return next((version for version in versions if version.version == wanted), None)


def _version(path: Path) -> str | None:
    """What the source of `Builder` says in `VERSION = tfds.core.Version("...")`; None if it says it in another way."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ClassDef) and node.name == "Builder":
            for line in node.body:
                match line:
                    case ast.Assign([ast.Name("VERSION")], ast.Call(args=[ast.Constant(str(version))])):
                        return version
    return None


def _module(name: str) -> str:
    return name if "." in name else f"{BUILDERS}.{name}"


def _module_path(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(_module(name))
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        hint = "a dotted name must be an importable module that defines Builder" if "." in name else ""
        raise UserError(f"no data set '{name}'; {hint or nearest(name, builder_names())}")
    return Path(spec.origin)


def _builder_class(name: str) -> Any:
    tfds = tensorflow_datasets()
    # Names of TFDS's own sets are taken; a builder of ours or the user's may well share one.
    with tfds.core.registered.skip_registration():
        module: ModuleType = importlib.import_module(_module(name))
    try:
        return module.Builder
    except AttributeError:
        raise UserError(f"module {module.__name__} defines no class Builder, so it is no data set") from None


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
        raise UserError(f"TFDS has no data set '{wanted}'; {hint}its catalogue lists {len(known)} of them") from None


def _elsewhere(tfds: Any, wanted: str) -> Path | None:
    """The folder of TFDS's own data directory that holds the set already, in a format that allows random access."""
    home = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if not (home / wanted.split("/")[0].split(":")[0]).is_dir():
        return None
    builder = tfds.builder(wanted, data_dir=home, try_gcs=False)
    usable = builder.is_prepared() and builder.info.file_format.value == "array_record"
    return Path(builder.data_path) if usable else None
