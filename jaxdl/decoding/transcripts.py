"""Texts of CTC outputs, by the most probable path or by beam search with a language model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jaxdl.decoding.ctc import BLANK, beam_search
from jaxdl.errors import UserError

Names = Mapping[str, Sequence[str]]

_UNKNOWN = 3  # the last special token in every vocabulary; special tokens are never recognized
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class LanguageModel(Protocol):
    """A language model for beam search, such as `jaxdl.decoding.ngrams.NGrams`."""

    def following(self, tokenizer: Any) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Returns `(tokens so far) -> [vocabulary]`, log-probabilities of the next token."""
        ...


class TranscriptDecoder:
    """Decoder from one example's outputs to its text.

    Args:
      beam: Number of prefixes that beam search keeps. 0 decodes the most probable path.
      language_model: Language model of the beam search. None for none.
      language_weight: Weight of the language model's log-probability (see `jaxdl.decoding.ctc.beam_search`).
      token_bonus: Bonus per token with a language model.
    """

    def __init__(self, beam: int, language_model: LanguageModel | None, language_weight: float, token_bonus: float):
        self._beam, self._language_model = beam, language_model
        self._options = {"weight": language_weight, "bonus": token_bonus}
        # The language model fitted for the last tokenizer: fitting reads the whole corpus.
        self._fitted: tuple[Any, Callable[[tuple[int, ...]], np.ndarray]] | None = None

    def transcribe(self, outputs: Mapping[str, Any], names: Names) -> tuple[str, float | None]:
        """Returns the text and its log-probability (None if unknown).

        Args:
          outputs: Outputs of `SpeechRecognition.predict` for one example, without the leading axis.
          names: A tokenizer as `target`. Without it the text consists of numbers.
        """
        if not self._beam:
            score = float(outputs["score"]) if "score" in outputs else None
            return text_of_tokens(np.asarray(outputs["tokens"])[: int(outputs["length"])], names), score
        log_probabilities = np.asarray(outputs["log_probabilities"])[: int(outputs["steps"])]
        options = {} if self._language_model is None else {"language_model": self._fit(names), **self._options}
        best = beam_search(log_probabilities, self._beam, **options)[0]
        return text_of_tokens(best.tokens, names), best.log_probability

    def _fit(self, names: Names) -> Callable[[tuple[int, ...]], np.ndarray]:
        assert self._language_model is not None
        tokenizer: Any = names.get("target")
        if not hasattr(tokenizer, "encode_all"):
            raise UserError("a language model needs data with a tokenizer; set task.language_model=None")
        if self._fitted is None or self._fitted[0] is not tokenizer:
            self._fitted = tokenizer, self._language_model.following(tokenizer)
        return self._fitted[1]


def text_of_tokens(tokens: Any, names: Names) -> str:
    """Returns the text of tokens without special tokens; numbers without a tokenizer."""
    tokens = [int(token) for token in tokens if token > _UNKNOWN]
    tokenizer: Any = names.get("target")
    return tokenizer.decode(tokens) if hasattr(tokenizer, "decode") else " ".join(map(str, tokens))


def reference_text(records: Mapping[str, Any], row: int, names: Names) -> str:
    """Returns the text of one target; unknown tokens become the replacement character."""
    tokens = np.asarray(records["target"][row])[: int(records["target_length"][row])]
    parts = np.split(tokens, np.flatnonzero(tokens == _UNKNOWN))
    return _REPLACEMENT.join(text_of_tokens(part, names) for part in parts)


def path_labels(outputs: Mapping[str, Any], names: Names) -> list[str]:
    """Returns the label of each valid step of an example's path, "" for the blank."""
    tokens = names.get("target", ())
    path = np.asarray(outputs["path"])[: int(outputs["steps"])].tolist()
    return ["" if token == BLANK else str(tokens[token] if token < len(tokens) else token) for token in path]
