"""Pairs of sentences from the help of LibreOffice: its English pages beside those of another language.

A page in two languages has the same path, and a paragraph or heading in it the same HTML id, so sentences are aligned
by what the translators themselves worked on.
"""

from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from jaxdl.data.splits import PARTS, part_of
from jaxdl.data.store.packages import Debian

WORDS = (4, 40)  # the fewest and the most of a text that is kept
_BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6"})


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


class Language(NamedTuple):
    """The help in one language.

    Attributes:
      package: of Debian.
      folder: where its pages lie, at any depth.
      sha256: `jaxdl.data.store.packages.tree_digest` of the pages.
    """

    package: str
    folder: str
    sha256: str

    def fetch(self) -> Path:
        """The folder; raises UserError if it cannot be had or does not hold the expected pages."""
        return Debian(self.package, {f"{self.folder}/*.html": self.sha256}).fetch() / self.folder


ENGLISH = Language(
    "libreoffice-help-en-us",
    "usr/share/libreoffice/help/en-US/text",
    "4b36917ca956d5e389972b79fcd8b038f28b9d8140e4fb96245f6c294cac407d",
)


class _Page(HTMLParser):
    """Collects the texts of a page's paragraphs and headings, by HTML id.

    Where a key's or a menu's name depends on the system or the application, a page holds all names, hidden; only that
    which stands for all other cases has no class, and is the one kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self._block: str | None = None
        self._id: str | None = None
        self._pieces: list[str] = []
        self._left_out: list[bool] = []  # for each open span

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in _BLOCKS:
            self._block, self._id, self._pieces, self._left_out = tag, attributes.get("id"), [], []
        elif tag == "span":
            self._left_out.append("hidden" in attributes and "class" in attributes)
        elif tag == "br":
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self._left_out:
            self._left_out.pop()
        if tag == self._block:
            if self._id:
                self.texts.setdefault(self._id, []).append(" ".join("".join(self._pieces).split()))
            self._block = None

    def handle_data(self, data: str) -> None:
        if self._block and not any(self._left_out):
            self._pieces.append(data)


def paragraphs(page: str) -> dict[str, list[str]]:
    """The texts of a page's paragraphs and headings, with single spaces, by HTML id; an id may occur twice."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    return parser.texts


def align(english: Path, other: Path) -> dict[Pair, str]:
    """All different pairs of 4 to 40 words, each with the page it is first on: its path in the folder.

    A pair whose two texts are the same, because it is code or was not translated, is left out.

    Args:
      english, other: folders of pages; pages that only one of them has are passed over.
    """
    pairs: dict[Pair, str] = {}
    for file in sorted(english.rglob("*.html")):
        name = file.relative_to(english).as_posix()
        if (other / name).is_file():
            texts = [paragraphs((folder / name).read_text(encoding="utf-8")) for folder in (english, other)]
            for pair in _pairs(*texts):
                pairs.setdefault(pair, name)
    return pairs


def _pairs(english: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> Iterator[Pair]:
    for key, sources in english.items():
        targets = other.get(key, [])
        if len(sources) == len(targets):
            for pair in map(Pair, sources, targets):
                if pair.source != pair.target and all(WORDS[0] <= len(text.split()) <= WORDS[1] for text in pair):
                    yield pair


def parts(pairs: Mapping[Pair, str]) -> dict[str, list[Pair]]:
    """The pairs of each part: about 90 of 100 pages for training, 5 for validation, 5 for the test.

    A pair of validation or test whose English or other text is also in training is left out, as is one of the test
    whose text is in validation.
    """
    found: dict[str, list[Pair]] = {part: [] for part in PARTS}
    for pair, page in pairs.items():
        found[part_of(page, validation=5, test=5)].append(pair)
    train, validation, test = (found[part] for part in PARTS)
    validation = _without(validation, train)
    return {"train": train, "validation": validation, "test": _without(test, [*train, *validation])}


def _without(pairs: Iterable[Pair], others: Iterable[Pair]) -> list[Pair]:
    sources, targets = map(set, zip(*others)) if others else (set(), set())
    return [pair for pair in pairs if pair.source not in sources and pair.target not in targets]
