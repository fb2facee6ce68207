"""Records and descriptions of Debian packages.

From the lists of the machine's release, component main: `Packages` and `Translation-en`. The descriptions have the
licences of the packages.
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
WORDS = (12, 200)  # (minimum, maximum) words of a long description
HELD_OUT = 2  # percent of source packages in each of validation and test


class Description(NamedTuple):
    """Description of a package: paragraphs and one line."""

    long: str
    short: str


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """Yields the records of a list as fields by name.

    Continuation lines keep their line breaks but not their indentation.
    """
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
    """Returns the source package; packages of one source are similar and must be in one part."""
    return record.get("Source", record["Package"]).split()[0]


def plain(description: str) -> Description:
    """Parses a description: a short line, then the long one as running text.

    In lists, empty lines are "." and items begin with "*" or "-".
    """
    short, _, rest = description.partition("\n")
    lines = [line.strip() for line in rest.split("\n") if line.strip() not in ("", ".")]
    return Description(" ".join(line[2:] if line[:2] in ("* ", "- ") else line for line in lines), short)


def descriptions(folder: Path) -> dict[str, list[Description]]:
    """Returns the distinct descriptions of each part; no short one is in two parts.

    Args:
      folder: Folder with the lists.
    """
    sources = {record["Package"]: source_of(record) for record in stanzas(folder / "Packages")}
    by_part: dict[str, list[Description]] = {part: [] for part in PARTS}
    long_texts: set[str] = set()
    part_by_short: dict[str, str] = {}
    for record in stanzas(folder / "Translation-en"):
        name = record["Package"]
        description = plain(record.get("Description-en", ""))
        words = len(description.long.split())
        if (
            name not in sources
            or description.long in long_texts
            or not description.short
            or not WORDS[0] <= words <= WORDS[1]
        ):
            continue
        part = part_of(sources[name], validation=HELD_OUT, test=HELD_OUT)
        if part_by_short.setdefault(description.short, part) == part:
            long_texts.add(description.long)
            by_part[part].append(description)
    return by_part


class Question(NamedTuple):
    """Question whose answer is a span of a text.

    Attributes:
      question: Question.
      text: Context.
      answer: Answer.
      start: First character of the answer in the text.
    """

    question: str
    text: str
    answer: str
    start: int


TEMPLATES = {
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
LONGEST = 90  # largest number of characters in a field


def questions(folder: Path) -> dict[str, list[Question]]:
    """Returns one question per package for each part.

    Its words identify a field, whose value is the answer.

    The text is the record, one field per line, without other fields and those of more than `LONGEST` characters.

    Args:
      folder: Folder with the list `Packages`.
    """
    by_part: dict[str, list[Question]] = {part: [] for part in PARTS}
    for record in stanzas(folder / "Packages"):
        fields = {name: value for name, value in record.items() if name in TEMPLATES or name == "Package"}
        fields = {name: value for name, value in fields.items() if value and len(value) <= LONGEST}
        candidates = [name for name in fields if name != "Package"]
        if not candidates:
            continue
        chance = int.from_bytes(hashlib.sha256(record["Package"].encode()).digest()[8:16])
        field = candidates[chance % len(candidates)]
        forms = TEMPLATES[field]
        lines = [f"{name}: {value}" for name, value in fields.items()]
        before = "\n".join(lines[: list(fields).index(field)])
        start = len(before) + 1 + len(field) + 2
        part = part_of(source_of(record), validation=HELD_OUT, test=HELD_OUT)
        question = forms[chance // 64 % len(forms)].format(record["Package"])
        by_part[part].append(Question(question, "\n".join(lines), fields[field], start))
    return by_part
