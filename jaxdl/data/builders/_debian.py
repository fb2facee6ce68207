"""What Debian says of its packages: records of fields, and a short and a long description of each.

From the lists of the release that the machine has, component main: `Packages`, and `Translation-en`, whose descriptions
their authors put under the licences of the packages.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import DebianLists

LISTS = DebianLists(
    {
        "Packages": "515e692f2c4121c6fcec444ef100cc18f79a991910615f3a88c8b7becfc94d2f",
        "Translation-en": "62f59c3cdca9786e4f7adf9002f9f5729a684adcb4667e58e448dec9b5a46c7f",
    }
)
WORDS = (12, 200)  # the fewest and the most of a long description that is kept
HELD_OUT = 2  # of 100 source packages, for validation and for the test each


class Description(NamedTuple):
    """What a package is: in a paragraph or more, and in a line."""

    long: str
    short: str


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """The records of a list: fields by name. Lines that go on keep their line breaks, without the leading space."""
    fields: dict[str, str] = {}
    name = ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if not line:
                if fields:
                    yield fields
                fields = {}
            elif line[0] in " \t":
                fields[name] += f"\n{line[1:]}"
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
    if fields:
        yield fields


def source_of(record: Mapping[str, str]) -> str:
    """The source package of a record: packages of one source are alike, and belong into one part."""
    return record.get("Source", record["Package"]).split()[0]


def plain(description: str) -> Description:
    """A description as it is in a list: the short one in its first line, then the long one, whose lines "." are empty
    and whose lists begin with "*" or "-". The long one becomes running text."""
    short, _, rest = description.partition("\n")
    lines = [line.strip() for line in rest.split("\n") if line.strip() not in ("", ".")]
    return Description(" ".join(line[2:] if line[:2] in ("* ", "- ") else line for line in lines), short)


def descriptions(folder: Path) -> dict[str, list[Description]]:
    """Different descriptions for each part; no long one is there twice, no short one in two parts.

    Args:
      folder: with the lists.
    """
    sources = {record["Package"]: source_of(record) for record in stanzas(folder / "Packages")}
    found: dict[str, list[Description]] = {part: [] for part in PARTS}
    seen: set[str] = set()
    taken: dict[str, str] = {}
    for record in stanzas(folder / "Translation-en"):
        name = record["Package"]
        made = plain(record.get("Description-en", ""))
        words = len(made.long.split())
        if name not in sources or made.long in seen or not made.short or not WORDS[0] <= words <= WORDS[1]:
            continue
        part = part_of(sources[name], validation=HELD_OUT, test=HELD_OUT)
        if taken.setdefault(made.short, part) == part:
            seen.add(made.long)
            found[part].append(made)
    return found


class Question(NamedTuple):
    """A question whose answer is a part of a text.

    Attributes:
      start: of the answer in the text, in characters.
    """

    question: str
    text: str
    answer: str
    start: int


ASKED = {
    "Source": ("Which source package is {} built from?", "What is the source of {}?"),
    "Version": ("Which version of {} is this?", "How new is the version of {}?", "What version does {} have?"),
    "Installed-Size": ("How much room does {} take once it is installed?", "How big is {} on disk?"),
    "Architecture": ("For which architecture is {}?", "What machines does {} run on?"),
    "Depends": ("What does {} depend on?", "Which packages does {} need?"),
    "Recommends": ("What should be installed beside {}?", "What does {} recommend?"),
    "Description": ("What is {} for?", "How is {} described?", "What is {}?"),
    "Homepage": ("Where is the home page of {}?", "On which site can one read about {}?"),
    "Section": ("In which section is {}?", "Where does {} belong in the archive?"),
    "Priority": ("What priority does {} have?", "How important is {}?"),
    "Multi-Arch": ("May several architectures of {} be installed?", "What does {} say about several architectures?"),
    "Size": ("How large is the download of {}?", "How many bytes does the file of {} have?"),
}
LONGEST = 90  # characters of a field's value that is kept


def questions(folder: Path) -> dict[str, list[Question]]:
    """A question about each package for each part: its words name a field, and the answer is that field's value.

    The text is the record, a field a line, in the order of the list; fields that nobody asks for and those of more than
    `LONGEST` characters are left out.

    Args:
      folder: with the list `Packages`.
    """
    found: dict[str, list[Question]] = {part: [] for part in PARTS}
    for record in stanzas(folder / "Packages"):
        fields = {name: value for name, value in record.items() if name in ASKED or name == "Package"}
        fields = {name: value for name, value in fields.items() if value and len(value) <= LONGEST}
        asked = [name for name in fields if name != "Package"]
        if not asked:
            continue
        chance = int.from_bytes(hashlib.sha256(record["Package"].encode()).digest()[8:16])
        field = asked[chance % len(asked)]
        forms = ASKED[field]
        lines = [f"{name}: {value}" for name, value in fields.items()]
        before = "\n".join(lines[: list(fields).index(field)])
        start = len(before) + 1 + len(field) + 2
        part = part_of(source_of(record), validation=HELD_OUT, test=HELD_OUT)
        question = forms[chance // 64 % len(forms)].format(record["Package"])
        found[part].append(Question(question, "\n".join(lines), fields[field], start))
    return found
