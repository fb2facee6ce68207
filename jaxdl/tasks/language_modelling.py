"""Language modelling: what token comes next, softmax cross-entropy.

Batches: `tokens` int32 [batch, length + 1], of which `tokens[:, :-1]` is read and `tokens[:, 1:]` foretold; 0 is
padding and counts nowhere. Where they are there: `context` int32 [batch], how many of the first targets do not count,
because they are only read to know what comes after; `characters` [batch], how many characters the counted targets stand
for; `first` float32 [batch], 1 where a row does not go on where it ended the step before (`Data.order="streams"`);
`tokens_segments` int32 [batch, length + 1], of which packed sequence a token is (`jaxdl.data.text.packing`), 0 none: it
sees no other, and a sequence's first token is not foretold; `tokens_length` int32 [batch], for predictions. And
`weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.decoding.sampling import occurring, sample
from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import batch_coupling, check_segments, next_token_mask
from jaxdl.training.task import (
    Array,
    Evaluation,
    FunctionTask,
    Names,
    Outcome,
    Phase,
    PyTree,
    Term,
    example_keys,
    module_key,
)

GROUP = "language_model"
PAD, START, END, UNKNOWN = 0, 1, 2, 3


class Sampling(NamedTuple):
    """How predictions are drawn; see `jaxdl.decoding.sampling.sample`."""

    temperature: float
    top_k: int
    top_p: float
    new_tokens: int
    repetition_penalty: float


def language_modelling(
    model: nn.Module,
    *,
    carried: bool = True,
    chunk: int = 0,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    new_tokens: int = 200,
    stop: tuple[str, ...] = (),
) -> Any:
    """Trains the group "language_model" in one phase, "train", by cross-entropy a token.

    With `carried` the model's state goes on from one batch to the next, but no gradient goes back beyond a batch:
    truncated back-propagation through time (Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line
    Training of Recurrent Network Trajectories", 1990). That needs batches that go on, `Data.order="streams"`, of
    windows without context, for the carried state has read it. Without `carried` every window begins from the model's
    initial state. Evaluation always does: context stands for what came before.

    Args:
      model: `model(tokens [batch, time], *, carry, train) -> (logits [batch, time, vocabulary], carry)`, where carry
        None is the initial state, and `model.initial_carry(batch) -> carry`, every leaf [batch, ...]. A model without
        `initial_carry` keeps no state: it cannot be `carried`, and reads all anew for each token that it writes. One
        with `model.read(tokens, lengths [batch], carry) -> (logits [batch, vocabulary], carry)` reads prompts at once.
        Where `model.positions` is not None, it takes no more tokens than that.
      chunk: compute logits of so many tokens of a row at a time, and again on the way back, so that those of all never
        exist at once; for models with `whole=False` and `logits`, such as `jaxdl.models.transformer.Decoder`. 0: all.
      temperature, top_k, top_p, repetition_penalty: how predictions are drawn; see `jaxdl.decoding.sampling.sample`.
      new_tokens: how many tokens a prediction has.
      stop: what is read of a prediction ends before the first of these strings.

    Evaluation metrics: `loss` (nats a token), `perplexity` (its exponential), `accuracy`, `nats_per_character` and
    `bits_per_character`; over all counted targets together.
    Predictions: `continuation` int32 [batch, new_tokens] of the prompts `tokens`, 0 after an <end>; `log_probability`
    float32 [batch], what the model gives to it. A prompt is as long as `tokens_length` says, else as it is without the
    padding at its end; the first token is read in any case.

    Raises:
      UserError: an argument out of range; when traced, batches without `tokens`, or without `first` if `carried`.
    """
    if carried and not hasattr(model, "initial_carry"):
        raise UserError(f"{type(model).__name__} has no initial_carry, so it keeps no state: set carried=False")
    if chunk and not hasattr(model, "logits"):
        raise UserError(f"{type(model).__name__} gives its logits all at once: set chunk=0")
    if new_tokens < 1 or chunk < 0:
        raise UserError(f"new_tokens={new_tokens}, chunk={chunk}: must be 1 or more, and 0 or more")
    if repetition_penalty <= 0.0 or "" in stop:
        raise UserError(
            f"repetition_penalty={repetition_penalty}, stop={stop}: the first must be above 0, and no string empty"
        )
    if not 0.0 <= temperature < np.inf or top_k < 0 or not 0.0 < top_p <= 1.0:
        raise UserError(
            f"temperature={temperature}, top_k={top_k}, top_p={top_p}: the first two must be 0 or more, the last above"
            " 0 and at most 1"
        )
    sampling = Sampling(temperature, top_k, top_p, new_tokens, repetition_penalty)
    return FunctionTask(
        init=functools.partial(_init, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model, carried, chunk)),),
        evaluate=functools.partial(_evaluate, model, chunk),
        predict=functools.partial(_predict, model, sampling),
        score=_score,
        draw=functools.partial(_draw, tuple(stop)),
        readable=functools.partial(_readable, tuple(stop)),
        causal=functools.partial(_causal, model),
        carry=lambda batch: model.initial_carry(len(_tokens(batch))) if carried else {},
        batch_coupled=batch_coupling(model),
    )


def _tokens(batch: Mapping[str, Array]) -> Array:
    """The windows of a batch, int32 [batch, length + 1]."""
    if "tokens" not in batch:
        raise UserError(f"batches have {', '.join(sorted(batch))}: the task needs 'tokens', as Windows(...) gives them")
    tokens = batch["tokens"]
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise UserError(f"tokens has shape {tokens.shape} and type {tokens.dtype}: it must be int32 [batch, time]")
    return jnp.asarray(tokens)


def _init(model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    collections = dict(model.init(key, _tokens(batch)[:, :-1], train=False))
    params = collections.pop("params")
    return {GROUP: params}, {GROUP: collections} if collections else {}


def _apply(
    model: nn.Module,
    params: PyTree,
    variables: PyTree,
    tokens: Array,
    carry: PyTree = None,
    key: Array | None = None,
    **more: Any,
) -> tuple[Array, PyTree, PyTree]:
    """Logits float32 [batch, time, vocabulary], the new carry, the new variables. `key` is for training."""
    collections = variables.get(GROUP, {})
    inputs = {"params": params[GROUP], **collections}
    if key is None:
        logits, carry = model.apply(inputs, tokens, carry=carry, train=False, **more)
        return jnp.asarray(logits, jnp.float32), carry, variables
    rngs = {"dropout": key}
    outputs, updated = model.apply(
        inputs, tokens, carry=carry, train=True, rngs=rngs, mutable=list(collections), **more
    )
    logits, carry = outputs
    return jnp.asarray(logits, jnp.float32), carry, {**variables, GROUP: updated} if collections else variables


def _counted(batch: Mapping[str, Array]) -> Array:
    """float32 [batch, length]: the example's weight where a target counts, else 0."""
    targets = _tokens(batch)[:, 1:]
    counts = (targets != PAD) & (jnp.arange(targets.shape[1]) >= batch.get("context", jnp.zeros(1, int))[:, None])
    if "tokens_segments" in batch:
        counts &= next_token_mask(batch["tokens_segments"])
    return batch["weight"][:, None] * counts


def _packed(model: nn.Module, batch: Mapping[str, Array]) -> dict[str, Array]:
    """What the model is told of packed sequences, if there are any."""
    if "tokens_segments" not in batch:
        return {}
    check_segments(model)
    return {"segments": batch["tokens_segments"][:, :-1]}


def _losses(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Minus the log-probability of each target; 1 where it is the most probable one. Both float32 [batch, length]."""
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    return -picked, (logits.argmax(-1) == targets).astype(jnp.float32)


def _scored(
    model: nn.Module,
    chunk: int,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    carry: PyTree = None,
    key: Array | None = None,
) -> tuple[Array, Array, PyTree, PyTree]:
    """As `_losses`, of a batch's tokens; the new carry and variables."""
    tokens, packed = _tokens(batch), _packed(model, batch)
    targets = tokens[:, 1:]
    if not chunk:
        logits, carry, variables = _apply(model, params, variables, tokens[:, :-1], carry, key, **packed)
        return *_losses(logits, targets), carry, variables
    features, carry, variables = _apply(model, params, variables, tokens[:, :-1], carry, key, whole=False, **packed)
    inputs = {"params": params[GROUP], **variables.get(GROUP, {})}

    @jax.checkpoint
    def losses(part: tuple[Array, Array]) -> tuple[Array, Array]:
        return _losses(model.apply(inputs, part[0], method="logits"), part[1])  # type: ignore

    rows, length = targets.shape
    pad = -length % chunk
    parts = (jnp.pad(features, ((0, 0), (0, pad), (0, 0))), jnp.pad(targets, ((0, 0), (0, pad))))
    cut = [jnp.moveaxis(part.reshape(rows, -1, chunk, *part.shape[2:]), 1, 0) for part in parts]
    found = [jnp.moveaxis(part, 0, 1).reshape(rows, -1)[:, :length] for part in jax.lax.map(losses, tuple(cut))]
    return found[0], found[1], carry, variables


def _loss(
    model: nn.Module,
    carried: bool,
    chunk: int,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    before = _begun(model, batch) if carried else None
    losses, hits, after, variables = _scored(model, chunk, params, variables, batch, before, module_key(key, batch))
    counted = _counted(batch)
    total = jnp.sum(counted)
    return Outcome(
        terms={"cross_entropy": Term(jnp.sum(counted * losses), total)},
        variables=variables,
        metrics={"accuracy": (jnp.sum(counted * hits), total)},
        # A state keeps its type from step to step, whatever type the model computes in.
        carry=jax.tree.map(lambda new, old: jax.lax.stop_gradient(new).astype(old.dtype), after, before)
        if carried
        else {},
    )


def _begun(model: nn.Module, batch: Mapping[str, Any]) -> PyTree:
    """The state that each row goes on from: what it was left in, or the initial one where it does not go on."""
    if "tokens_segments" in batch:
        raise UserError("packed sequences do not go on from one batch to the next; train with task.carried=False")
    if "first" not in batch:
        raise UserError(
            "batches have no 'first', which says where a row does not go on: a carried state needs"
            ' data.order="streams"; or train without it: task.carried=False'
        )
    fresh = model.initial_carry(len(batch["tokens"]))
    return _where(batch["first"] > 0, fresh, batch["carry"])


def _where(rows: Array, chosen: PyTree, other: PyTree) -> PyTree:
    """The leaves of `chosen` in the rows [batch] that are true, else of `other`; leaves are [batch, ...]."""

    def select(new: Array, old: Array) -> Array:
        return jnp.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old).astype(old.dtype)

    return jax.tree.map(select, chosen, other)


def _evaluate(
    model: nn.Module, chunk: int, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    losses, hits, _, _ = _scored(model, chunk, params, variables, batch)
    counted = _counted(batch)
    loss, total = jnp.sum(counted * losses), jnp.sum(counted)
    characters = jnp.sum(batch["weight"] * batch["characters"]) if "characters" in batch else total
    return Evaluation(
        {
            "loss": (loss, total),
            "accuracy": (jnp.sum(counted * hits), total),
            "nats_per_character": (loss, characters),
        }
    )


def _score(records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
    del records, names
    with np.errstate(over="ignore"):
        perplexity = float(np.exp(metrics["loss"]))
    return {"perplexity": perplexity, "bits_per_character": metrics["nats_per_character"] / float(np.log(2.0))}


def _causal(model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array]) -> Array:
    return jax.nn.log_softmax(_apply(model, params, variables, _tokens(batch)[:, :-1], **_packed(model, batch))[0])


def _predict(
    model: nn.Module,
    sampling: Sampling,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
) -> dict[str, Array]:
    tokens = _tokens(batch)
    length = jnp.maximum(batch["tokens_length"] if "tokens_length" in batch else _length(tokens), 1)
    if getattr(model, "positions", None):  # of longer prompts the end is read, so that there is room to write
        tokens, length = _ends(tokens, length, max(1, model.positions - sampling.new_tokens))  # type: ignore
    if hasattr(model, "initial_carry"):
        carry, step = model.initial_carry(tokens.shape[0]), functools.partial(_step, model, params, variables)
    else:
        room = tokens.shape[1] + sampling.new_tokens
        carry = (jnp.zeros((tokens.shape[0], room), tokens.dtype), jnp.zeros(tokens.shape[0], jnp.int32))
        step = functools.partial(_step_anew, model, params, variables)
    if hasattr(model, "read"):
        collections = {"params": params[GROUP], **variables.get(GROUP, {})}
        logits, carry = model.apply(collections, tokens, length, carry, method="read")  # type: ignore
    else:
        carry, logits = _read(step, carry, tokens, length)
    written = sample(
        step,
        carry,
        logits,
        example_keys(key, batch),
        sampling.new_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        seen=occurring(tokens, length, logits.shape[-1]) if sampling.repetition_penalty != 1.0 else None,
        end=END,
        forbidden=(PAD, START, UNKNOWN),
        pad=PAD,
    )
    return {"continuation": written.tokens, "log_probability": written.score}


def _length(tokens: Array) -> Array:
    """int32 [batch]: how many tokens there are before the padding at the end."""
    return jnp.max(jnp.where(tokens != PAD, jnp.arange(1, tokens.shape[1] + 1), 0), axis=1).astype(jnp.int32)


def _ends(tokens: Array, length: Array, longest: int) -> tuple[Array, Array]:
    """The last `longest` of the first `length` [batch] tokens [batch, time] of each row, and how many these are."""
    if tokens.shape[1] <= longest:
        return tokens, length
    places = jnp.maximum(length - longest, 0)[:, None] + jnp.arange(longest)
    return jnp.take_along_axis(tokens, places, axis=1), jnp.minimum(length, longest)


def _step(model: nn.Module, params: PyTree, variables: PyTree, carry: PyTree, token: Array) -> tuple[Array, PyTree]:
    """Reads a token [batch]: logits [batch, vocabulary] of the next one, and the new state."""
    logits, new, _ = _apply(model, params, variables, token[:, None], carry)
    return logits[:, 0], jax.tree.map(lambda new, old: new.astype(old.dtype), new, carry)


def _step_anew(
    model: nn.Module, params: PyTree, variables: PyTree, carry: tuple[Array, Array], token: Array
) -> tuple[Array, tuple[Array, Array]]:
    """As `_step`, of a model without a state: the carry is all tokens so far, and how many they are."""
    tokens, count = carry
    rows = jnp.arange(tokens.shape[0])
    tokens = tokens.at[rows, count].set(token)
    logits, _, _ = _apply(model, params, variables, tokens)
    return logits[rows, count], (tokens, count + 1)


def _read(step: Callable[..., Any], carry: PyTree, tokens: Array, length: Array) -> tuple[PyTree, Array]:
    """The state after the first `length` [batch] of the tokens [batch, time], and the logits of what comes next."""

    def advance(state: tuple, column: tuple[Array, Array]) -> tuple[tuple, None]:
        token, place = column
        logits, carry = step(state[0], token)
        return _where(place < length, (carry, logits), state), None

    shape = jax.eval_shape(step, carry, tokens[:, 0])[0]
    state = (carry, jnp.zeros(shape.shape, shape.dtype))
    (carry, logits), _ = jax.lax.scan(advance, state, (tokens.T, jnp.arange(tokens.shape[1])))
    return carry, logits


def _prompt(example: Mapping[str, Any]) -> np.ndarray:
    """The prompt of one example without padding, int32 [tokens]."""
    tokens = np.asarray(example["tokens"])
    real = np.flatnonzero(tokens != PAD)
    length = example["tokens_length"] if "tokens_length" in example else (real[-1] + 1 if len(real) else 0)
    return tokens[: int(length)]


def _readable(
    stop: tuple[str, ...], example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    from jaxdl.viz.language import text_of

    prompt, written = _prompt(example), text_of(np.asarray(outputs["continuation"]), names.get("tokens"))
    ends = [place for string in stop if (place := written.find(string)) >= 0]
    return {
        "prompt": text_of(prompt, names.get("tokens")),
        "continuation": written[: min(ends)] if ends else written,
        "log_probability": float(outputs["log_probability"]),
    }


def _draw(
    stop: tuple[str, ...],
    batch: Mapping[str, Any],
    outputs: Mapping[str, Any],
    metrics: Mapping[str, Any],
    names: Names,
) -> dict[str, np.ndarray]:
    """`continuations`: the first prompts and what the model wrote after them."""
    from jaxdl.viz.language import continuations

    del metrics
    shown = np.flatnonzero(np.asarray(batch["weight"]) > 0)
    examples = [{name: batch[name][row] for name in ("tokens", "tokens_length") if name in batch} for row in shown]
    made = [{name: value[row] for name, value in outputs.items()} for row in shown]
    texts = [_readable(stop, example, output, names) for example, output in zip(examples, made)]
    return {"continuations": continuations([t["prompt"] for t in texts], [t["continuation"] for t in texts])}
