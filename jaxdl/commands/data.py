"""Lists and prepares data sets."""

from collections.abc import Sequence

from absl.flags import FlagValues

from jaxdl.commands.flags import Command, Flag
from jaxdl.data.store.catalog import Row, catalog, prepare
from jaxdl.data.store.pretrained import WEIGHTS, pretrained
from jaxdl.errors import warn
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="data",
    summary="Lists the data sets, or prepares one",
    synopsis=("[--prepare=NAME]",),
    flags=(Flag("prepare", "Data set or pretrained model to download and prepare.", value="NAME"),),
    example="jaxdl data --prepare=fashion_mnist",
    needs="nothing",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    if flags.prepare:
        (pretrained if flags.prepare in WEIGHTS else prepare)(flags.prepare)
    rows = catalog()
    for row in rows:
        if row.problem:
            warn(row.problem)
    print_table(("name", "splits", "MB", "fingerprint"), list(map(cells, rows)))


def cells(row: Row) -> Sequence[str]:
    """Returns a data set's name, splits, size in MB and the first 12 digits of its fingerprint."""
    splits = ", ".join(f"{name} {count:,}" for name, count in row.splits.items())
    size = f"{row.bytes / 1e6:,.1f}" if row.prepared else ""
    return row.name, splits or ("damaged" if row.problem else "not prepared"), size, row.fingerprint[:12]
