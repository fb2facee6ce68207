"""Causal language modelling."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.decoding.sampling import occurring, sample
from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import check_ranges
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.prompts import length_without_padding, read_prompts, truncate_left
from jaxdl.tasks.parts.tokens import (
    next_token_mask,
    segment_arguments,
    select_rows,
    token_losses,
    token_metrics,
    token_outcome,
    tokens_of,
)
from jaxdl.training.task import Array, Batch, Evaluation, IdRange, Names, Outcome, PyTree, example_keys
from jaxdl.viz.language import LanguageModellingPresentation


@dataclass(frozen=True, eq=False)
class LanguageModelling(ModelTask):
    """Causal language modelling with softmax cross-entropy per token.

    With `carried`, the model's state after a batch is the initial state of the next one, without gradient: truncated
    back-propagation through time (Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of
    Recurrent Network Trajectories", 1990). This needs consecutive windows without context, `Data.order="streams"`.
    Otherwise, and in evaluation, every window starts from the initial state, and context replaces the carried state.

    Batches: `tokens` int32 [batch, length + 1]; `tokens[:, :-1]` are the inputs, `tokens[:, 1:]` the targets. Padding
    (0) is masked. Optional features:

    - `context` int32 [batch]: number of leading targets that are masked because they are context only.
    - `characters` [batch]: number of characters of the unmasked targets.
    - `first` float32 [batch]: 1 where a row does not continue its row of the previous batch.
    - `tokens_segments` int32 [batch, length + 1]: number of the packed sequence (`jaxdl.data.text.packing`), 0 on
      padding. Attention is limited to the sequence, and its first token is not a target.
    - `tokens_length` int32 [batch]: length of the prompt, for predictions. By default all but trailing padding.

    Evaluation metrics, over all unmasked targets: `loss` (nats per token), `perplexity`, `accuracy`,
    `nats_per_character` and `bits_per_character`.

    Predictions: `continuation` int32 [batch, new_tokens] of the prompts `tokens`, 0 after <end>, and its
    `log_probability` float32 [batch]. At least one token of the prompt is read.

    Attributes:
      model: Language model, `model(tokens [batch, time], *, carry, train) -> (logits [batch, time, vocabulary], carry)`
        with `model.initial_carry(batch) -> carry`, leaves [batch, ...]; carry None is the initial state. Without
        `initial_carry` the model is stateless: it cannot be `carried`, and sampling reads the whole text for each
        token. `model.read(tokens, lengths [batch], carry) -> (logits [batch, vocabulary], carry)`, if defined, reads
        whole prompts. `model.positions`, if defined and not None, limits the number of tokens.
      carried: Whether the state is carried from batch to batch in training.
      chunk: Number of tokens per row whose logits are computed at a time, and recomputed in the backward pass, which
        limits memory. Needs a model with `whole=False` and `logits`, such as `jaxdl.models.gpt.Decoder`. 0: all.
      temperature, top_k, top_p, repetition_penalty: Sampling of predictions, see `jaxdl.decoding.sampling.sample`.
      new_tokens: Number of tokens of a prediction.
      stop: Strings before which readable predictions are cut.

    Raises:
      UserError: An argument out of range, batches without `tokens`, or without `first` if `carried`.
    """

    group: ClassVar[str] = "language_model"

    carried: bool = True
    chunk: int = 0
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    new_tokens: int = 200
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        name = type(self.model).__name__
        if self.carried and not hasattr(self.model, "initial_carry"):
            raise UserError(f"{name} has no initial_carry, so its state cannot be carried; set carried=False")
        if self.chunk and not hasattr(self.model, "logits"):
            raise UserError(f"{name} has no method `logits`, which chunk={self.chunk} needs; set chunk=0")
        if "" in self.stop:
            raise UserError(f"stop={self.stop} must not contain an empty string")
        check_ranges(self, chunk="[0, inf)", new_tokens="[1, inf)", repetition_penalty="(0, inf)")
        check_ranges(self, temperature="[0, inf)", top_k="[0, inf)", top_p="(0, 1]")

    @property
    def presentation(self) -> LanguageModellingPresentation:
        return LanguageModellingPresentation(tuple(self.stop))

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, tokens_of(batch)[:, :-1])

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> list[IdRange]:
        vocabulary, embeddings = self.embedded_ids(self._apply, params, variables, batch, "tokens")
        return [self.valid_ids("tokens", min([vocabulary, *embeddings.values()]))]

    def token_count(self, batch: Batch) -> int:
        rows, length = batch["tokens"].shape
        return rows * (length - 1)

    def carry(self, batch: Batch) -> PyTree:
        return self.model.initial_carry(len(tokens_of(batch))) if self.carried else {}

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        before = self._resumed_carry(batch, carry) if self.carried else None
        losses, correct, after, variables = self._token_losses(params, variables, batch, before, key)
        metrics = token_metrics(losses, correct, _target_weight(batch))
        if self.carried:  # a carry keeps its type from step to step, also with a model that computes in bfloat16
            after = jax.tree.map(lambda new, old: jax.lax.stop_gradient(new).astype(old.dtype), after, before)
        return token_outcome(metrics, variables, carry=after if self.carried else {})

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        losses, correct, _, _ = self._token_losses(params, variables, batch)
        metrics = token_metrics(losses, correct, _target_weight(batch))
        loss, total = metrics["loss"]
        characters = jnp.sum(batch["weight"] * batch["characters"]) if "characters" in batch else total
        return Evaluation({**metrics, "nats_per_character": (loss, characters)})

    def score(self, records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(metrics["loss"]))
        return {"perplexity": perplexity, "bits_per_character": metrics["nats_per_character"] / float(np.log(2.0))}

    def causal(self, params: PyTree, variables: PyTree, batch: Batch) -> Array:
        """Returns log-probabilities float32 [batch, length, vocabulary] of the next token."""
        return jax.nn.log_softmax(jnp.asarray(self._apply(params, variables, batch)[0], jnp.float32))

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        tokens = tokens_of(batch)
        length = batch["tokens_length"] if "tokens_length" in batch else length_without_padding(tokens)
        length = jnp.maximum(length, 1)
        positions = getattr(self.model, "positions", None)
        if positions:  # leaves room for the continuation
            tokens, length = truncate_left(tokens, length, max(1, positions - self.new_tokens))
        collections = self.collections(params, variables)
        step, carry, logits = read_prompts(self.model, collections, tokens, length, self.new_tokens)
        continuation = sample(
            step,
            carry,
            logits,
            example_keys(key, batch),
            self.new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seen=occurring(tokens, length, logits.shape[-1]) if self.repetition_penalty != 1.0 else None,
            end=END,
            forbidden=(PAD, START, UNKNOWN),
            pad=PAD,
        )
        return {"continuation": continuation.tokens, "log_probability": continuation.score}

    def _resumed_carry(self, batch: Batch, carry: PyTree) -> PyTree:
        """Returns the carry of each row, the initial one where a row does not continue the previous batch."""
        if "tokens_segments" in batch:
            raise UserError("packed sequences cannot carry a state from batch to batch; set task.carried=False")
        if "first" not in batch:
            raise UserError(
                "batches have no 'first', the rows whose carried state is reset; set data.order=\"streams\" or"
                " task.carried=False"
            )
        return select_rows(batch["first"] > 0, self.model.initial_carry(len(batch["tokens"])), carry)

    def _apply(
        self,
        params: PyTree,
        variables: PyTree,
        batch: Batch,
        carry: PyTree = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[Array, PyTree, PyTree]:
        """Returns the model's outputs [batch, length, ...], the new carry, and the new variables."""
        inputs = tokens_of(batch)[:, :-1]
        options |= segment_arguments(self.model, batch, inputs.shape[1])
        (outputs, carry), variables = self.apply_model(params, variables, batch, key, inputs, carry=carry, **options)
        return outputs, carry, variables

    def _token_losses(
        self, params: PyTree, variables: PyTree, batch: Batch, carry: PyTree = None, key: Array | None = None
    ) -> tuple[Array, Array, PyTree, PyTree]:
        """Returns losses and correctness float32 [batch, length], the new carry, and the new variables."""
        targets = tokens_of(batch)[:, 1:]
        if not self.chunk:
            logits, carry, variables = self._apply(params, variables, batch, carry, key)
            logits = float_outputs(logits, *targets.shape, "vocabulary")
            return *token_losses(logits, targets), carry, variables
        features, carry, variables = self._apply(params, variables, batch, carry, key, whole=False)
        features = jnp.asarray(features, jnp.float32)
        collections = self.collections(params, variables)

        @jax.checkpoint
        def chunk_losses(chunk: tuple[Array, Array]) -> tuple[Array, Array]:
            return token_losses(self.model.apply(collections, chunk[0], method="logits"), chunk[1])

        rows, length = targets.shape
        padding = -length % self.chunk
        padded = (jnp.pad(features, ((0, 0), (0, padding), (0, 0))), jnp.pad(targets, ((0, 0), (0, padding))))
        chunks = [jnp.moveaxis(x.reshape(rows, -1, self.chunk, *x.shape[2:]), 1, 0) for x in padded]
        losses, correct = (
            jnp.moveaxis(x, 0, 1).reshape(rows, -1)[:, :length] for x in jax.lax.map(chunk_losses, tuple(chunks))
        )
        return losses, correct, carry, variables


def _target_weight(batch: Batch) -> Array:
    """Returns the example's weight for unmasked targets and 0 for masked ones, float32 [batch, length]."""
    targets = tokens_of(batch)[:, 1:]
    mask = (targets != PAD) & (jnp.arange(targets.shape[1]) >= batch.get("context", jnp.zeros(1, int))[:, None])
    if "tokens_segments" in batch:
        mask &= next_token_mask(batch["tokens_segments"])
    return batch["weight"][:, None] * mask
