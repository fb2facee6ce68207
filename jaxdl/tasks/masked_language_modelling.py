"""Masked language modelling (BERT; Devlin et al. 2018, arXiv:1810.04805)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text.special_tokens import PAD, SPECIALS, UNKNOWN
from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.tokens import (
    accepts,
    segment_arguments,
    token_losses,
    token_metrics,
    token_outcome,
    tokens_of,
)
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, example_keys
from jaxdl.viz.text import MaskedLanguageModellingPresentation

FIRST_TOKEN = len(SPECIALS)  # smaller ids are special tokens, which neither replace tokens nor are predicted


@dataclass(frozen=True, eq=False)
class MaskedLanguageModelling(ModelTask):
    """Masked language modelling with softmax cross-entropy at the masked positions.

    Trains the group "masked_language_model" in one phase, "train". Each example draws its masked positions from its own
    key. As in BERT, 80% of the masked tokens become <unknown>, 10% a random token, and 10% stay.

    Batches: `tokens` int32 [batch, time], where padding (0) is never masked. Optional: `words` int32 [batch, time], the
    number of a token's word, for `whole_words`; `tokens_segments` int32 [batch, time], the number of the packed
    sequence (`jaxdl.data.text.packing`), to which attention is limited; without it `tokens_length` int32 [batch], the
    number of tokens that are not padding, to which attention is limited if the model has an argument `length`.

    Evaluation metrics: `loss` (nats per masked token), `accuracy`, and `perplexity`, the exponential of the loss.

    Predictions: `guess` int32 [batch, time], the most probable token in place of <unknown>, other tokens unchanged;
    `probability` float32 [batch, time] of `guess`.

    Attributes:
      model: Encoder with a token head, `model(tokens, *, train) -> logits [batch, time, vocabulary]`, such as
        `jaxdl.models.bert.MaskedLanguageModel`.
      share: Share of tokens that are masked, in (0, 1).
      whole_words: Whether all tokens of a word are masked together. Needs `words`.

    Raises:
      UserError: An argument out of range, or batches without `tokens`, or without `words` if `whole_words`.
    """

    group: ClassVar[str] = "masked_language_model"
    presentation = MaskedLanguageModellingPresentation()

    share: float = 0.15
    whole_words: bool = False

    def __post_init__(self):
        check_ranges(self, share="(0, 1)")

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, tokens_of(batch))

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        def apply(params: PyTree, variables: PyTree, batch: Batch) -> tuple[Array, PyTree]:
            return self._logits(params, variables, batch, batch["tokens"])

        vocabulary, embeddings = self.embedded_ids(apply, params, variables, batch, "tokens")
        return [self.valid_ids("tokens", min([vocabulary, *embeddings.values()]))]

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        metrics, variables = self._masked_metrics(params, variables, batch, key, jax.random.fold_in(key, 1))
        return token_outcome(metrics, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        return Evaluation(self._masked_metrics(params, variables, batch, key)[0])

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
        return {"perplexity": float(np.exp(min(metrics["loss"], 700.0)))}  # exp(710) overflows

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        tokens = tokens_of(batch)
        probabilities = jax.nn.softmax(self._logits(params, variables, batch, tokens)[0])
        guess = FIRST_TOKEN + probabilities[..., FIRST_TOKEN:].argmax(-1).astype(tokens.dtype)
        guess = jnp.where(tokens == UNKNOWN, guess, tokens)
        return {"guess": guess, "probability": jnp.take_along_axis(probabilities, guess[..., None], axis=-1)[..., 0]}

    def mask_tokens(self, batch: Batch, key: Array, vocabulary: int) -> tuple[Array, Array]:
        """Returns the corrupted tokens int32 and the mask bool, both [batch, time]; `vocabulary` is a size."""
        tokens = tokens_of(batch)
        if self.whole_words and "words" not in batch:
            raise UserError("batches have no 'words', which whole_words=True needs; set Windows(words=True)")

        def of_example(key: Array, tokens: Array, words: Array) -> tuple[Array, Array]:
            mask_key, kind_key, random_key = (jax.random.fold_in(key, number) for number in range(3))
            draws = jax.random.uniform(mask_key, tokens.shape)[words]
            mask = (draws < self.share) & (tokens != PAD)
            kind = jax.random.uniform(kind_key, tokens.shape)
            random = jax.random.randint(random_key, tokens.shape, FIRST_TOKEN, vocabulary)
            corrupted = jnp.where(kind < 0.8, UNKNOWN, jnp.where(kind < 0.9, random, tokens))
            return jnp.where(mask, corrupted, tokens), mask

        words = batch["words"] if self.whole_words else jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        return jax.vmap(of_example)(example_keys(key, batch), tokens, words)

    def _masked_metrics(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array, dropout: Array | None = None
    ) -> tuple[dict[str, tuple[Array, Array]], PyTree]:
        """Returns `loss` and `accuracy` over masked positions, and the new variables."""
        tokens, mask = self.mask_tokens(batch, key, self.model.encoder.vocabulary)
        logits, variables = self._logits(params, variables, batch, tokens, dropout)
        losses, correct = token_losses(logits, tokens_of(batch))
        return token_metrics(losses, correct, batch["weight"][:, None] * mask), variables

    def _logits(
        self, params: PyTree, variables: PyTree, batch: Batch, tokens: Array, dropout: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns logits float32 [batch, time, vocabulary] and the new variables."""
        options = segment_arguments(self.model, batch, tokens.shape[1])
        if not options and "tokens_length" in batch and accepts(self.model, "length"):
            options = {"length": batch["tokens_length"]}
        logits, variables = self.apply_model(params, variables, batch, dropout, tokens, **options)
        return float_outputs(logits, *tokens.shape, "vocabulary"), variables
