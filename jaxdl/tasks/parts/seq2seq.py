"""What tasks share that generate a text from an input, as translation and image captioning do.

Batches: `target` int32 [batch, length], <start> to <end>, then padding, and `target_length` int32 [batch], <start> and
<end> counted; `weight` float32 [batch] (0 on padding), `index` [batch]; and what the task reads. To train on, several
pairs may be packed into a row (`jaxdl.data.text.packing`): then `source_segments` and `target_segments`, int32 [batch,
...], say of which pair a token is, 0 none, and there are no lengths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding.beam_search import (
    Hypotheses,
    beam,
    greedy,
    log_softmax,
    spread,
)
from jaxdl.errors import UserError, nearest
from jaxdl.metrics.translation import METRICS
from jaxdl.tasks.parts.apply import check_segments, foretold
from jaxdl.training.task import Array, Evaluation, Names, Outcome, PyTree, Term, module_key

# The ids that all token features share; jaxdl.data.text.tokenizers says the same, which tasks do not know.
PAD, START, END, UNKNOWN = 0, 1, 2, 3
FOREIGN = " \N{REPLACEMENT CHARACTER} "


@runtime_checkable
class Decoder(Protocol):
    """The part of a tokenizer that makes text of ids below its length."""

    def __len__(self) -> int: ...

    def decode(self, ids: Any) -> str: ...


@dataclass(frozen=True)
class Generator:
    """An encoder-decoder, trained with teacher forcing and decoded by search.

    Attributes:
      group: of the parameters and variables.
      model: `model(inputs, target [batch, n], *, length, train) -> logits [batch, n, vocabulary]`, where logits[:, i]
        say what follows target[:, i]; for packed pairs with `segments` in place of `length`; and the methods
        `encode(inputs, *, length) -> memory`, `start(memory) -> carry`, `decode(memory, carry, token [batch]) ->
        (logits [batch, vocabulary], carry)`, memory and carry [batch, ...].
      inputs: `(batch) -> (inputs, length)`, what the encoder reads; length is None where inputs have none.
      label_smoothing: share of the loss's target spread evenly over the vocabulary (arXiv:1512.00567), in [0, 1).
      beam: 1 is greedy search; above, the width of the beam.
      length_penalty: of the beam, see `jaxdl.decoding.beam_search.beam`.
      max_length: tokens of an output; None: in evaluation, as many as the padded target has to be guessed.
      metrics: names in `jaxdl.metrics.translation.METRICS`.
      decode_in_evaluation: False leaves `metrics` out, and the time that they take.
    """

    group: str
    model: nn.Module
    inputs: Callable[[Mapping[str, Array]], tuple[Array, Array | None]]
    label_smoothing: float
    beam: int
    length_penalty: float
    max_length: int | None
    metrics: tuple[str, ...]
    decode_in_evaluation: bool

    def __post_init__(self) -> None:
        """
        Raises:
          UserError: an argument out of range.
        """
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UserError(f"label_smoothing={self.label_smoothing}: must be at least 0 and below 1")
        if self.beam < 1:
            raise UserError(f"beam={self.beam}: must be at least 1, which is greedy search")
        if not 0.0 <= self.length_penalty < np.inf:
            raise UserError(f"length_penalty={self.length_penalty}: must be a number of at least 0")
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"max_length={self.max_length}: must be at least 1")
        for name in self.metrics:
            if name not in METRICS:
                raise UserError(f"metrics has '{name}': {nearest(name, METRICS)}")

    def init(self, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
        """(params {group: tree}, variables {group: collections})."""
        inputs, options = self._inputs(batch)
        collections = dict(self.model.init(key, inputs, _clean(batch)[:, :-1], **options, train=False))
        params = collections.pop("params")
        return {self.group: params}, {self.group: collections} if collections else {}

    def loss(self, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array) -> Outcome:
        """Cross-entropy of each token after <start>, given those before it; the term's weight is how many there are.

        A token that the model has no logit for makes the loss NaN, which stops a run.
        """
        del step
        logits, variables = self._logits(params, variables, batch, key)
        log_probabilities = log_softmax(logits)
        token, counted = _guessed(batch)
        smooth = self.label_smoothing
        loss = (1.0 - smooth) * _of(token, log_probabilities) + smooth * jnp.mean(log_probabilities, axis=-1)
        total = jnp.sum(counted)
        return Outcome(
            terms={"cross_entropy": Term(-_sum(counted, loss), total)},
            variables=variables,
            metrics={"token_accuracy": (_sum(counted, logits.argmax(-1) == token), total)},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array) -> Evaluation:
        """`loss` (without smoothing) and `token_accuracy`, given the true tokens before; and records for `score`."""
        del key
        logits, _ = self._logits(params, variables, batch)
        token, counted = _guessed(batch)
        total = jnp.sum(counted)
        metrics = {
            "loss": (-_sum(counted, _of(token, log_softmax(logits))), total),
            "token_accuracy": (_sum(counted, logits.argmax(-1) == token), total),
        }
        if not (self.decode_in_evaluation and self.metrics):
            return Evaluation(metrics)
        found = self.search(params, variables, batch, self.max_length or token.shape[1])
        records = {"tokens": found.tokens, "length": found.length, "target": _clean(batch)}
        return Evaluation(metrics, {**records, "target_length": batch["target_length"]})

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, float]:
        """`self.metrics` of what was decoded, {} where nothing was. References are the target's tokens as text, with a
        sign that no output has where the vocabulary does not know a token."""
        del metrics
        if not records:
            return {}
        hypotheses = texts(records["tokens"], records["length"], names.get("target"))
        references = texts(records["target"], records["target_length"], names.get("target"), unknown=FOREIGN)
        return {name: METRICS[name](hypotheses, references) for name in self.metrics}

    def predict(
        self, params: PyTree, variables: PyTree, batch: Mapping[str, Array], max_length: int
    ) -> dict[str, Array]:
        """`tokens` int32 [batch, max_length], `length` int32 [batch] and `score` [batch] of `Hypotheses`."""
        return dict(self.search(params, variables, batch, self.max_length or max_length)._asdict())

    def search(self, params: PyTree, variables: PyTree, batch: Mapping[str, Array], max_length: int) -> Hypotheses:
        """The most probable output for each example, as greedy or beam search finds it."""
        collections = {"params": params[self.group], **variables.get(self.group, {})}
        inputs, length = self.inputs(batch)
        memory: Any = self.model.apply(collections, inputs, length=length, method="encode")
        carry = self.model.apply(collections, memory, method="start")
        held = spread(memory, self.beam) if self.beam > 1 else memory

        def step(carry: PyTree, token: Array) -> Any:
            return self.model.apply(collections, held, carry, token, method="decode")

        start = jnp.full(inputs.shape[0], START, jnp.int32)
        forbidden = (PAD, START, UNKNOWN)
        if self.beam == 1:
            return greedy(step, carry, start, END, max_length, forbidden=forbidden, pad=PAD)
        return beam(step, carry, start, END, max_length, self.beam, self.length_penalty, forbidden=forbidden, pad=PAD)

    def _logits(
        self, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """float32 [batch, length - 1, vocabulary] given the true tokens, and the new variables; a key: in training."""
        collections = variables.get(self.group, {})
        inputs, options = self._inputs(batch)
        arguments = ({"params": params[self.group], **collections}, inputs, _clean(batch)[:, :-1])
        if key is None:
            logits: Any = self.model.apply(*arguments, **options, train=False)
            return jnp.asarray(logits, jnp.float32), variables
        rngs = {"dropout": module_key(key, batch)}
        logits, updated = self.model.apply(*arguments, **options, train=True, rngs=rngs, mutable=list(collections))
        return jnp.asarray(logits, jnp.float32), {**variables, self.group: updated} if collections else variables

    def _inputs(self, batch: Mapping[str, Array]) -> tuple[Array, dict[str, Any]]:
        """What the model reads, and what it is told of it."""
        inputs, length = self.inputs(batch)
        if "target_segments" not in batch:
            return inputs, {"length": length}
        check_segments(self.model)
        return inputs, {"segments": (batch["source_segments"], batch["target_segments"][:, :-1])}


def texts(tokens: Any, length: Any, tokenizer: Any, unknown: str = "") -> list[str]:
    """Ids [examples, time] with their lengths [examples] as texts; without a tokenizer, the numbers with spaces.

    Args:
      unknown: stands for a token that the vocabulary does not know; by default it is left out.

    Raises:
      UserError: an id that the tokenizer does not have.
    """
    rows = [np.asarray(row)[: int(count)] for row, count in zip(np.asarray(tokens), np.asarray(length))]
    if not isinstance(tokenizer, Decoder):
        return [" ".join(str(token) for token in row if token not in (PAD, START, END)) for row in rows]
    largest = max((int(row.max()) for row in rows if len(row)), default=0)
    if largest >= len(tokenizer):
        raise UserError(
            f"there is a token {largest}, and the vocabulary has {len(tokenizer)}: give the model as many outputs"
        )
    parts = [np.split(row, np.flatnonzero(row == UNKNOWN)) for row in rows]
    return [unknown.join(tokenizer.decode(part) for part in pieces).strip() for pieces in parts]


def shown(batch: Mapping[str, Any], count: int, feature: str) -> np.ndarray:
    """The first `count` rows of a batch that are no padding."""
    return np.flatnonzero(np.asarray(batch.get("weight", np.ones(len(batch[feature])))) > 0)[:count]


def references(batch: Mapping[str, Any], rows: np.ndarray, names: Names) -> list[str] | None:
    """The targets of `rows` as texts; None where they are not known: those of a user's files are absent, or zeros."""
    if "target_length" not in batch or not np.any(np.asarray(batch["target_length"])[rows]):
        return None
    return texts(np.asarray(batch["target"])[rows], np.asarray(batch["target_length"])[rows], names.get("target"))


def _clean(batch: Mapping[str, Array]) -> Array:
    """The target with <pad> after its end, whatever was there.

    Raises:
      UserError: it has another number of axes, or no token to guess.
    """
    target = batch["target"]
    if target.ndim != 2 or target.shape[1] < 2:
        raise UserError(f"target has shape {target.shape}: the task needs [batch, length] with a length of at least 2")
    if "target_segments" in batch:
        return jnp.where(batch["target_segments"] > 0, target, PAD)
    return jnp.where(jnp.arange(target.shape[1]) < batch["target_length"][:, None], target, PAD)


def _guessed(batch: Mapping[str, Array]) -> tuple[Array, Array]:
    """The tokens to be guessed, int32 [batch, length - 1], and how much each counts, float32 of the same shape."""
    target = _clean(batch)
    if "target_segments" in batch:
        valid = foretold(batch["target_segments"])
    else:
        valid = jnp.arange(1, target.shape[1]) < batch["target_length"][:, None]
    return target[:, 1:], valid * batch["weight"].astype(jnp.float32)[:, None]


def _of(token: Array, log_probabilities: Array) -> Array:
    """[batch, time] the log-probability of each token."""
    return jnp.take_along_axis(log_probabilities, token[..., None], axis=-1)[..., 0]


def _sum(counted: Array, values: Array) -> Array:
    """The sum over what counts; what does not may be anything, infinity and NaN included."""
    return jnp.sum(jnp.where(counted > 0, counted * values, 0.0))
