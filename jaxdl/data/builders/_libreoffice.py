"""Parallel sentences from the LibreOffice help: English and translated pages.

A page has the same path in both languages, and a paragraph the same HTML id, so the alignment is that of the
translators.
"""

from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from jaxdl.data.splits import split_by_hash
from jaxdl.data.store.packages import Debian

WORDS = (4, 40)  # (minimum, maximum) words of a text
_BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6"})


class Pair(NamedTuple):
    """Text with its translation."""

    source: str
    target: str


class Language(NamedTuple):
    """LibreOffice help in one language.

    Attributes:
      package: Debian package.
      folder: Folder of the pages, at any depth.
      sha256: `jaxdl.data.store.packages.tree_digest` of the pages.
    """

    package: str
    folder: str
    sha256: str

    def fetch(self) -> Path:
        """Returns the folder; raises UserError if it is unavailable or differs."""
        return Debian(self.package, {f"{self.folder}/*.html": self.sha256}).fetch() / self.folder


ENGLISH = Language(
    "libreoffice-help-en-us",
    "usr/share/libreoffice/help/en-US/text",
    "4b36917ca956d5e389972b79fcd8b038f28b9d8140e4fb96245f6c294cac407d",
)


class _Page(HTMLParser):
    """Parser that collects the text of paragraphs and headings by HTML id.

    Pages hold all variants of names that depend on the system or application. Hidden variants with a class are skipped,
    so that the default remains.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self._block: str | None = None
        self._id: str | None = None
        self._pieces: list[str] = []
        self._skipped: list[bool] = []  # per open span

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in _BLOCKS:
            self._block, self._id, self._pieces, self._skipped = tag, attributes.get("id"), [], []
        elif tag == "span":
            self._skipped.append("hidden" in attributes and "class" in attributes)
        elif tag == "br":
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self._skipped:
            self._skipped.pop()
        if tag == self._block:
            if self._id:
                self.texts.setdefault(self._id, []).append(" ".join("".join(self._pieces).split()))
            self._block = None

    def handle_data(self, data: str) -> None:
        if self._block and not any(self._skipped):
            self._pieces.append(data)


def paragraphs(page: str) -> dict[str, list[str]]:
    """Returns the texts of paragraphs and headings by HTML id; ids may repeat."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    return parser.texts


def align(english: Path, other: Path) -> dict[Pair, str]:
    """Returns the distinct pairs of 4 to 40 words, each with the path of its first page.

    Pairs of equal texts (code, or not translated) are omitted.

    Args:
      english, other: Folders of pages. Pages of only one language are skipped.
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
    """Splits the pairs by page into about 90% training, 5% validation and 5% test.

    Pairs that share a text with an earlier part are removed from validation and test.
    """
    train, validation, test = split_by_hash(pairs, pairs.__getitem__, validation=5, test=5).values()
    validation = _without(validation, train)
    return {"train": train, "validation": validation, "test": _without(test, [*train, *validation])}


def _without(pairs: Iterable[Pair], others: Iterable[Pair]) -> list[Pair]:
    sources, targets = map(set, zip(*others)) if others else (set(), set())
    return [pair for pair in pairs if pair.source not in sources and pair.target not in targets]


def examples(other: Language) -> dict[str, list[dict[str, str]]]:
    """Returns the pairs of English and another language as examples of each split."""
    by_part = parts(align(ENGLISH.fetch(), other.fetch()))
    return {part: [pair._asdict() for pair in pairs] for part, pairs in by_part.items()}
