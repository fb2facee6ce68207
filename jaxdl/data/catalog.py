"""What data sets there are, for `launch.py data`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxdl.data.prepared import MANIFEST, data_home, find
from jaxdl.data.resolve import builder_names, prepare

__all__ = ["Row", "catalog", "prepare"]


@dataclass(frozen=True)
class Row:
    """One data set.

    Attributes:
      name: as `Dataset` takes it.
      prepared: whether it is on this machine, ready to load; if not, the rest is empty.
      splits: how many examples each split has.
      bytes: its size on disk.
      fingerprint: SHA-256 of its contents.
    """

    name: str
    prepared: bool
    splits: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    fingerprint: str = ""


def catalog() -> list[Row]:
    """All data sets of `jaxdl/data/builders`, and the others that have been prepared on this machine, by name."""
    manifests = data_home().glob(f"[!.]*/**/{MANIFEST}")
    folders = {str(path.parent.parent.relative_to(data_home())) for path in manifests}
    names = set(builder_names()) | {folder.replace("tfds/", "tfds:", 1) for folder in folders}
    return [_row(name) for name in sorted(names)]


def _row(name: str) -> Row:
    versions = find(name.replace("tfds:", "tfds/", 1))
    if not versions:
        return Row(name, prepared=False)
    newest = versions[0]
    return Row(name, True, newest.splits, newest.size, newest.fingerprint)
