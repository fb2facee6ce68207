"""Text as examples of token ids, in memory: windows of running text, sentences with a label, pairs, and captions.

Each is made of a corpus, any loadable whose examples have text, and of a vocabulary. Sequences are padded with <pad>
to one length; `X_length` says how many tokens of the feature `X` are real. `read` makes examples of the user's own
files and texts, in the form that a model wants them for prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl.data.codecs import SPACE
from jaxdl.data.columns import as_text, as_texts, read_columns, read_texts
from jaxdl.data.dataset import Loadable
from jaxdl.data.images import find_images, read_images
from jaxdl.data.source import Batch, ColumnSource, Source
from jaxdl.data.store import digest_of
from jaxdl.data.tokens import END, PAD, START, Tokenizer, Vocabulary
from jaxdl.errors import UserError, nearest

Longer = Literal["drop", "cut", "refuse"]
Names = Mapping[str, Sequence[str]]
Examples = list[tuple[str, dict[str, np.ndarray]]]
_LONGER = ("drop", "cut", "refuse")
_STEP = 64  # tokens: own texts are padded to a multiple of this, or to a power of two below, so that few programs do


@dataclass(frozen=True)
class Windows:
    """Running text, cut into windows: what a language model learns from and is scored on.

    All texts of the corpus are laid end to end. The targets of a window are its tokens but the first.

    Without context each window has `length` targets, and its last target is the first input of the next window; what
    is left at the end, fewer than `length` targets, is dropped. With context each token of the corpus but the very
    first is a target that counts exactly once over all windows: in the first window all of them count, in the others
    the last `length`, and the last window goes back as far as it must to be of full size.

    Loads as
      tokens: int32 [windows, context + length + 1].
      context: int32 [windows], how many of the leading targets do not count.
      characters: float32 [windows], how many characters the targets that count stand for.
      words: int32 [windows, context + length + 1], only if asked for: the number of the word that a token belongs to,
        from 0 on in each window.

    Attributes:
      length: how many targets of a window count.
      context: how many tokens before them a model sees.
      feature: the corpus's text.
      strict: `read` refuses characters that a vocabulary of `Characters` does not have; else they are <unknown>.
      words: number the words, which begin with a space or a line break.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    context: int = 0
    feature: str = "text"
    strict: bool = True
    words: bool = False

    def __post_init__(self):
        _at_least(self, length=(self.length, 1), context=(self.context, 0))

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: the corpus has no such feature, is no text, or is too short for one window.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(source, (self.feature,))[self.feature]
        measured = tokenizer.measure_all(texts)
        tokens = np.concatenate([ids for ids, _ in measured] or [np.zeros(0, np.int32)])
        widths = np.concatenate([each for _, each in measured] or [np.zeros(0, np.int32)])
        last, counted = self._windows(len(tokens))
        size = self.context + self.length
        reach = np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])
        columns = {
            "tokens": np.lib.stride_tricks.sliding_window_view(tokens, size + 1)[last - size],
            "context": (size - counted).astype(np.int32),
            "characters": (reach[last + 1] - reach[last + 1 - counted]).astype(np.float32),
        }
        if self.words:
            begins = np.array([text[:1] in (SPACE, " ", "\n") for text in tokenizer], np.int64)[tokens]
            numbers = np.lib.stride_tricks.sliding_window_view(np.cumsum(begins), size + 1)[last - size]
            columns["words"] = (numbers - numbers[:, :1]).astype(np.int32)
        settings = [self.length, self.context, self.feature, *(["words"] if self.words else [])]
        return _made(self, settings, source, tokenizer, columns, ("tokens",))

    def _windows(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """For each window where its last token stands, and how many of its targets count; int64 [windows] each."""
        size = self.context + self.length
        if tokens < size + 1:
            raise UserError(
                f"the corpus has {tokens} tokens, a window of Windows(length={self.length}, context={self.context}) "
                f"{size + 1}; make it smaller, or take more text"
            )
        rest = tokens - 1 - size
        windows = 1 + (-(-rest // self.length) if self.context else rest // self.length)
        last = np.minimum(size + self.length * np.arange(windows), tokens - 1)
        return last, np.diff(last, prepend=0)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Prompts: each text, and each file as a whole, as `tokens` and `tokens_length`; see `own_texts`."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        return _as_examples(own_texts(files, texts), "tokens", tokenizer, self.strict)


@dataclass(frozen=True)
class Sentences:
    """Texts with a class each, or without.

    Loads as `tokens` int32 [examples, length], `tokens_length` int32 [examples] and `label`.

    Attributes:
      length: tokens of the longest text.
      feature, label: what the corpus calls them; here they are `tokens` and `label`. Without a label there is none.
      longer: a text of more tokens is left out ("drop"), loses its end ("cut") or is an error ("refuse").
      strict: as in `Windows`.
      marked: <start> comes before the text, and <end> after it, as BERT was trained.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    feature: str = "text"
    label: str | None = "label"
    longer: Longer = "cut"
    strict: bool = True
    marked: bool = False

    def __post_init__(self):
        _at_least(self, length=(self.length, 1))
        _check_longer(self, self.longer)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, a text without a token, or one that is too long to accept.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        columns = read_columns(source, (self.feature, *([self.label] if self.label else [])))
        sequences = tokenizer.encode_all(as_texts(self.feature, columns[self.feature]))
        for number, ids in enumerate(sequences):
            if not len(ids):
                raise UserError(f"example {number} of the corpus has no token in '{self.feature}'; take it out")
        room = self.length - (2 if self.marked else 0)
        kept = _kept(self.feature, sequences, room, self.longer)
        _check_any(self, kept)
        chosen = [sequences[row][:room] for row in kept]
        made = _padded(
            "tokens", [_to_write(ids, self.length) for ids in chosen] if self.marked else chosen, self.length
        )
        if self.label:
            made["label"] = np.asarray(columns[self.label])[kept]
        settings = [self.length, self.feature, self.label, self.longer, *(["marked"] if self.marked else [])]
        renamed = {self.label: "label"} if self.label else None
        return _made(self, settings, source, tokenizer, made, ("tokens",), renamed)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each text, and each line of the files that is not empty, as `tokens` and `tokens_length`; see `own_lines`."""
        tokenizer = tokenizer_of(names, "tokens", self.vocabulary)
        lines = own_lines(files, texts)
        return _as_examples(lines, "tokens", tokenizer, self.strict, start=self.marked, end=self.marked)


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts: what to read and what to write, as in translation. Both have the same vocabulary.

    Loads as `source` int32 [examples, source_length], which ends with <end>, `target` int32 [examples, target_length],
    which begins with <start> and ends with <end>, and their lengths, `source_length` and `target_length`.

    Attributes:
      source_length, target_length: of the longest sequences, with <start> and <end>.
      longer: what to do with a pair with a longer one: leave it out ("drop"), cut the text's end off ("cut"), or stop
        ("refuse"). A pair without a token on one side is left out, too, or refused.
      source, target: what the corpus calls them.
      strict: as in `Windows`.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    source_length: int
    target_length: int
    longer: Longer = "drop"
    source: str = "source"
    target: str = "target"
    strict: bool = True

    def __post_init__(self):
        _at_least(self, source_length=(self.source_length, 2), target_length=(self.target_length, 3))
        _check_longer(self, self.longer)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, an example that is refused, or none is left.
        """
        corpus, tokenizer = self.corpus.load(), self.vocabulary.load()
        texts = read_texts(corpus, (self.source, self.target))
        source, target = (tokenizer.encode_all(texts[name]) for name in (self.source, self.target))
        kept = np.intersect1d(
            _kept(self.source, source, self.source_length - 1, self.longer),
            _kept(self.target, target, self.target_length - 2, self.longer),
        )
        _check_any(self, kept)
        columns = _padded("source", [_to_read(source[row], self.source_length) for row in kept], self.source_length)
        columns |= _padded("target", [_to_write(target[row], self.target_length) for row in kept], self.target_length)
        settings = [self.source_length, self.target_length, self.longer, self.source, self.target]
        return _made(self, settings, corpus, tokenizer, columns, ("source", "target"))

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Each text, and each line of the files that is not empty, as `source` and `source_length`; see `own_lines`."""
        tokenizer = tokenizer_of(names, "source", self.vocabulary)
        return _as_examples(own_lines(files, texts), "source", tokenizer, self.strict, end=True)


@dataclass(frozen=True)
class Captioned:
    """Images with a caption each.

    Loads as `image` uint8 [examples, height, width, channels], `target` int32 [examples, length], which begins with
    <start> and ends with <end>, and `target_length` int32 [examples].

    Attributes:
      length: of the longest caption, with <start> and <end>.
      longer: as in `Pairs`.
      image, caption: what the corpus calls them.
      shape: (height, width, channels) of the corpus's images; `read` brings the user's own to it.
    """

    corpus: Loadable
    vocabulary: Vocabulary
    length: int
    longer: Longer = "cut"
    image: str = "image"
    caption: str = "caption"
    shape: tuple[int, int, int] = (64, 64, 3)

    def __post_init__(self):
        _at_least(self, length=(self.length, 3))
        _check_longer(self, self.longer)

    def load(self) -> ColumnSource:
        """
        Raises:
          UserError: no such feature, no text, images of another shape, an example that is refused, or none is left.
        """
        source, tokenizer = self.corpus.load(), self.vocabulary.load()
        columns = read_columns(source, (self.image, self.caption))
        images, shape = columns[self.image], tuple(self.shape)
        for number, image in enumerate(images):
            if image.shape != shape:
                raise UserError(f"image {number} of the corpus has shape {image.shape}; Captioned.shape is {shape}")
        captions = tokenizer.encode_all(as_texts(self.caption, columns[self.caption]))
        kept = _kept(self.caption, captions, self.length - 2, self.longer)
        _check_any(self, kept)
        made = {"image": np.stack([images[row] for row in kept])}
        made |= _padded("target", [_to_write(captions[row], self.length) for row in kept], self.length)
        settings = [self.length, self.longer, self.image, self.caption]
        return _made(self, settings, source, tokenizer, made, ("target",))

    def read(self, files: Sequence[str], texts: Sequence[str], names: Names) -> Examples:
        """Image files, and those in folders, as `image`, cut at the centre and resized to `shape`.

        Raises:
          UserError: there are texts, no images, or files that are none.
        """
        if texts:
            raise UserError("a model that captions images takes image files, not --text")
        found = find_images(files)
        return [(str(file), {"image": read_images([file], self.shape)[0]}) for file in found]


def own_texts(files: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """The user's own texts, (what to call it, text): those given, then each file as a whole.

    Raises:
      UserError: a file is missing, no file or no UTF-8; or there is nothing at all.
    """
    found = [(text, as_text(text.encode("utf-8", "surrogatepass"), "the text given")) for text in texts]
    found += [(file, read_file(file)) for file in files]
    if not found:
        raise UserError("there is nothing to read; give text files, or texts with --text=...")
    return found


def own_lines(files: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """As `own_texts`, but each line of a file that is not empty is a text of its own, called FILE:LINE."""
    found = own_texts((), texts) if texts or not files else []
    for file in files:
        lines = read_file(file).split("\n")
        named = [(f"{file}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
        if not named:
            raise UserError(f"{file} is empty; write a text on each line")
        found += named
    return found


def read_file(path: str | Path) -> str:
    """A text file in UTF-8, with "\\n" at the ends of lines whatever it has, and without a byte order mark.

    Raises:
      UserError: it is missing, cannot be read or is no UTF-8.
    """
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give a text file in UTF-8") from None
    return as_text(content, str(path)).removeprefix("\ufeff").replace("\r\n", "\n")


def _as_examples(
    named: list[tuple[str, str]],
    feature: str,
    tokenizer: Tokenizer,
    strict: bool,
    start: bool = False,
    end: bool = False,
) -> Examples:
    """Texts as examples with `feature` int32 [n], padded, and its length; with `start` and `end`, <start> comes first
    and <end> last."""
    examples = []
    for (name, text), ids in zip(named, tokenizer.encode_all([text for _, text in named])):
        if not len(ids):
            raise UserError(f"'{_short(name)}' has no token in it; give a text")
        place = tokenizer.first_foreign(text) if strict else None
        if place is not None:
            raise UserError(
                f"'{_short(name)}': the vocabulary has no {text[place]!r} (U+{ord(text[place]):04X}), the character at "
                f"position {place}; take it out, or set strict=False, which reads it as <unknown>"
            )
        ids = np.concatenate([[START] * start, ids, [END] * end]).astype(np.int32)
        padded = _padded(feature, [ids], _round_up(len(ids)))
        examples.append((name, {key: value[0] for key, value in padded.items()}))
    return examples


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _round_up(length: int) -> int:
    return -(-length // _STEP) * _STEP if length > _STEP else 1 << (length - 1).bit_length()


def tokenizer_of(names: Names, feature: str, vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer that the model was trained with, which `names` has; else that of the vocabulary."""
    tokenizer = names.get(feature)
    return tokenizer if isinstance(tokenizer, Tokenizer) else vocabulary.load()


def _to_read(ids: np.ndarray, length: int) -> np.ndarray:
    return np.append(ids[: length - 1], np.int32(END))


def _to_write(ids: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([[START], ids[: length - 2], [END]]).astype(np.int32)


def _padded(feature: str, sequences: Sequence[np.ndarray], length: int) -> Batch:
    """Sequences [tokens] of `length` or less as `feature` int32 [sequences, length] and its lengths."""
    lengths = np.array([len(ids) for ids in sequences], np.int32)
    tokens = np.full((len(sequences), length), PAD, np.int32)
    tokens[np.arange(length) < lengths[:, None]] = np.concatenate([*sequences, np.zeros(0, np.int32)])
    return {feature: tokens, f"{feature}_length": lengths}


def _kept(feature: str, sequences: Sequence[np.ndarray], limit: int, longer: Longer) -> np.ndarray:
    """Which examples stay, int64 [examples]: those that fit, if they need to, and have a token."""
    lengths = np.array([len(ids) for ids in sequences], np.int64)
    wrong = (lengths == 0) if longer == "cut" else (lengths == 0) | (lengths > limit)
    if longer == "refuse" and wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"example {number} of the corpus has {lengths[number]} tokens in '{feature}', which has room for 1 to "
            f"{limit}; raise the length, or set longer to 'drop' or 'cut'"
        )
    return np.flatnonzero(~wrong)


def _check_any(loadable: Any, kept: np.ndarray) -> None:
    if not len(kept):
        raise UserError(f"no example of the corpus fits into {type(loadable).__name__}; raise its lengths")


def _check_longer(loadable: Any, longer: str) -> None:
    if longer not in _LONGER:
        raise UserError(f"{type(loadable).__name__}.longer is '{longer}'; {nearest(longer, _LONGER)}")


def _at_least(loadable: Any, **limits: tuple[int, int]) -> None:
    """Checks each field of `limits`: (its value, the least it may be)."""
    for name, (value, least) in limits.items():
        if value < least:
            raise UserError(f"{type(loadable).__name__}.{name}={value}: must be {least} or more")


def _made(
    loadable: Any,
    settings: list[Any],
    source: Source,
    tokenizer: Tokenizer,
    columns: Batch,
    token_features: Sequence[str],
    renamed: Mapping[str, str] | None = None,
) -> ColumnSource:
    """The columns as a source, which tells what its numbers mean."""
    fingerprint = digest_of([type(loadable).__name__, settings, source.fingerprint, tokenizer.digest])
    names: dict[str, Any] = {(renamed or {}).get(name, name): each for name, each in source.names.items()}
    names = {name: each for name, each in names.items() if name in columns} | dict.fromkeys(token_features, tokenizer)
    return ColumnSource(columns, fingerprint, names)
