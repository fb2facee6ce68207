"""Catalogue of the data sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxdl.data.store.builders import builder_names, prepare
from jaxdl.data.store.prepared import MANIFEST, find, folder_of, name_of
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
    """

    name: str
    prepared: bool
    splits: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    fingerprint: str = ""


def catalog() -> list[Row]:
    """Returns jaxdl's data sets and all others prepared on this machine, by name."""
    home = data_home()
    depths = ("[!.]*/*", "tfds/*/*", "tfds/*/*/*")
    folders = {str(path.parents[1].relative_to(home)) for depth in depths for path in home.glob(f"{depth}/{MANIFEST}")}
    names = set(builder_names()) | {name_of(folder) for folder in folders}
    return [_row(name) for name in sorted(names)]


def _row(name: str) -> Row:
    versions = find(folder_of(name))
    if not versions:
        return Row(name, prepared=False)
    newest = versions[0]
    return Row(name, True, newest.splits, newest.size, newest.fingerprint)
