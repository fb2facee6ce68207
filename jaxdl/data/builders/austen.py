"""Austen: the six novels of Jane Austen, 4.0 million characters, for language modelling.

From the R package `janeaustenr` 1.0.0 in Debian (r-cran-janeaustenr, MIT licence); the texts are Project Gutenberg's,
in the public domain. Preparation needs the library `rdata`.

Each novel is split in order into 90% training, 5% validation and 5% test, at line ends. The texts are complete, with
titles and chapter headings, in lines of at most 76 characters; Northanger Abbey ends with a footnote and an editorial
note in the test split. The training split has 80 distinct characters (ASCII and a pound sign), the others no more.
Characters per split:

                             train  validation     test
    Sense and Sensibility  606,340      33,690   33,657
    Pride and Prejudice    616,316      34,216   34,235
    Mansfield Park         794,976      44,161   44,141
    Emma                   794,734      44,192   44,101
    Northanger Abbey       390,116      21,656   21,638
    Persuasion             420,195      23,372   23,286
    all                  3,622,677     201,287  201,058
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxdl.data.builders._base import TEXT, ExamplesBuilder
from jaxdl.data.store.packages import Debian
from jaxdl.errors import from_extra

FOLDER = "usr/lib/R/site-library/janeaustenr/data"
SOURCE = Debian(
    "r-cran-janeaustenr",
    members={
        f"{FOLDER}/Rdata.rdx": "cab8cbe4ce965d3b42b35c03383bafccc0eb78151f70e4748ead45270470c22f",
        f"{FOLDER}/Rdata.rdb": "8fb5198960d0da724b1562f96e4221e5c1b41ff455000280b02c55980c3d8f21",
    },
)
TITLES = {  # by year of publication
    "sensesensibility": "Sense and Sensibility",
    "prideprejudice": "Pride and Prejudice",
    "mansfieldpark": "Mansfield Park",
    "emma": "Emma",
    "northangerabbey": "Northanger Abbey",
    "persuasion": "Persuasion",
}
ENDS = {"train": 0.9, "validation": 0.95, "test": 1.0}  # end of each split as a fraction of the novel


class Builder(ExamplesBuilder, skip_registration=True):
    """`text` and `title`, one example per novel and split."""

    name = "austen"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"text": TEXT, "title": TEXT}

    def examples(self) -> dict[str, Any]:
        folder = SOURCE.fetch() / FOLDER
        novels = read_lazy_load(folder / "Rdata.rdx", folder / "Rdata.rdb")
        parts = {title: cut("\n".join(novels[variable])) for variable, title in TITLES.items()}
        return {split: [{"text": parts[title][split], "title": title} for title in parts] for split in ENDS}


def read_lazy_load(index: Path, values: Path) -> dict[str, Any]:
    """Reads the variables of an R lazy-load database.

    Args:
      index: `.rdx` file with the position of each value.
      values: `.rdb` file; each value is four bytes of size and its zlib-compressed R serialization.
    """
    with from_extra("rdata", "The data set austen"):
        import rdata

    content = values.read_bytes()
    variables = {}
    for name, (start, length) in rdata.read_rds(index)["variables"].items():
        chunk = content[int(start) : int(start) + int(length)]
        value = zlib.decompress(chunk[struct.calcsize(">I") :])
        variables[str(name)] = rdata.conversion.convert(rdata.parser.parse_data(value, extension=".rds"))
    return variables


def cut(text: str) -> dict[str, str]:
    """Splits a text at line ends into the part of each split, in order."""
    parts, start = {}, 0
    for split, end in ENDS.items():
        stop = len(text) if end == 1 else text.index("\n", int(end * len(text))) + 1
        parts[split] = text[start:stop]
        start = stop
    return parts
