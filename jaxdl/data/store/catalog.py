"""Catalogue of the data sets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxdl.data.store.builders import builder_names, prepare
from jaxdl.data.store.prepared import MANIFEST, Damaged, folder_of, name_of, read_version, versions
from jaxdl.home import data_home

__all__ = ["Row", "catalog", "prepare"]


@dataclass(frozen=True)
class Row:
    """Catalogue entry of one data set.

    Attributes:
      name: Name as in `Dataset`.
      prepared: Whether the data set is prepared on this machine. The other fields are empty if not.
      splits: Number of examples per split.
      bytes: Size on disk.
      fingerprint: SHA-256 of the content.
      problem: Message on a damaged manifest. "" for an intact one.
    """

    name: str
    prepared: bool
    splits: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    fingerprint: str = ""
    problem: str = ""


def catalog() -> list[Row]:
    """Returns jaxdl's data sets and all others prepared on this machine, by name."""
    home = data_home()
    folders = [path for depth in ("[!.]*/*", "tfds/*/*", "tfds/*/*/*") for path in home.glob(depth)]
    prepared = {path.parent.relative_to(home).as_posix() for path in folders if os.path.lexists(path / MANIFEST)}
    return [_row(name) for name in sorted({*builder_names(), *map(name_of, prepared)})]


def _row(name: str) -> Row:
    folder = folder_of(name)
    newest = next(iter(versions(folder)), None)
    if newest is None:
        return Row(name, prepared=False)
    try:
        data = read_version(folder, newest)
    except Damaged as error:
        return Row(name, prepared=False, problem=str(error))
    return Row(name, True, data.splits, data.size, data.fingerprint)
