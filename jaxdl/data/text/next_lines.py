"""Pairs of a context and the line that follows it."""

from dataclasses import dataclass

from jaxdl.data.source import ColumnSource, Loadable, read_texts, text_column
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError


@dataclass(frozen=True)
class NextLines:
    r"""One example per line of a text: the text before it, and the line.

    Features: `source`, the lines before it, at most `characters` characters, cut at the start of a line; `target`, the
    line without surrounding spaces. Lines of white space and examples without context are left out.

    Example: head "def f(x):" and text "y = x\nreturn y" become the pairs ("def f(x):", "y = x") and
    ("def f(x):\ny = x", "return y").

    Attributes:
      corpus: Texts.
      text: Name of their feature.
      head: Name of a feature before each text, such as the signature of a function. None: none.
      characters: Length of the longest context. A longer last line is cut at its start.
    """

    corpus: Loadable
    text: str = "target"
    head: str | None = "source"
    characters: int = 400

    def __post_init__(self):
        if self.characters < 1:
            raise UserError(f"NextLines.characters is {self.characters}; must be at least 1")

    def load(self) -> ColumnSource:
        """Divides the texts.

        Raises:
          UserError: A feature does not exist or is not text, or no text has a line with a context.
        """
        corpus = self.corpus.load()
        texts = read_texts(corpus, [self.text] if self.head is None else [self.text, self.head])
        heads = [""] * len(texts[self.text]) if self.head is None else texts[self.head]
        pairs = [pair for head, text in zip(heads, texts[self.text]) for pair in self._pairs(head, text)]
        if not pairs:
            raise UserError(f"NextLines: no text in the feature '{self.text}' has a line after another")
        columns = {
            "source": text_column([pair[0] for pair in pairs]),
            "target": text_column([pair[1] for pair in pairs]),
        }
        return ColumnSource(columns, digest_of([corpus.fingerprint, self.text, self.head, self.characters]))

    def _pairs(self, head: str, text: str) -> list[tuple[str, str]]:
        before, pairs = head.splitlines(), []
        for line in text.splitlines():
            context = self._end("\n".join(before))
            if context.strip() and line.strip():
                pairs.append((context, line.strip()))
            before.append(line)
        return pairs

    def _end(self, text: str) -> str:
        """Returns the last whole lines of a text that fit."""
        if len(text) <= self.characters:
            return text
        cut = text[-self.characters :]
        whole = text[-self.characters - 1] == "\n" or "\n" not in cut
        return cut if whole else cut.partition("\n")[2]
