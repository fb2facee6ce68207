"""Masked language modelling: which tokens stand where some were hidden (Devlin et al. 2018, arXiv:1810.04805).

Batches: `tokens` int32 [batch, time]; `words` int32 [batch, time], the number of the word that a token belongs to,
where whole words are hidden; `tokens_segments` int32 [batch, time], of which packed sequence a token is
(`jaxdl.data.text.packing`), which sees no other; `weight` float32 [batch] (0 on padding), `index` [batch]. 0 is
padding, and is never hidden.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text.special_tokens import PAD, UNKNOWN
from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import apply_module, batch_coupling, check_segments, init_module
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

GROUP = "masked_language_model"
SPECIALS = 4  # ids below it are no tokens of a text


def masked_language_modelling(model: nn.Module, *, share: float = 0.15, whole_words: bool = False) -> Any:
    """Trains the group "masked_language_model" in one phase, "train", by cross-entropy at the chosen places.

    Of the tokens a share is chosen, for each example from its own key; of these 8 of 10 become <unknown>, one becomes
    any other token, and one stays.

    Args:
      model: `model(tokens, *, train) -> logits [batch, time, vocabulary]`, such as
        `jaxdl.models.bert.MaskedLanguageModel`.
      share: of the tokens, above 0 and below 1.
      whole_words: all tokens of a word are chosen, or none (needs `words` in batches).

    Evaluation metrics: `loss` (nats a chosen token), `accuracy`, `perplexity` (the loss's exponential).
    Predictions: `guess` int32 [batch, time], the most probable token where <unknown> stands, elsewhere what stands
    there; `probability` float32 [batch, time] of it.

    Raises:
      UserError: an argument out of range; when traced, batches without `tokens`, or without `words` if asked for.
    """
    if not 0.0 < share < 1.0:
        raise UserError(f"share={share}: must be above 0 and below 1")
    choose = functools.partial(_hidden, share, whole_words)
    return FunctionTask(
        init=functools.partial(_init, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model, choose)),),
        evaluate=functools.partial(_evaluate, model, choose),
        predict=functools.partial(_predict, model),
        score=lambda records, metrics, names: {"perplexity": float(np.exp(min(metrics["loss"], 700.0)))},
        draw=_draw,
        readable=_readable,
        batch_coupled=batch_coupling(model),
    )


def _tokens(batch: Mapping[str, Array]) -> Array:
    if "tokens" not in batch:
        raise UserError(f"batches have {', '.join(sorted(batch))}: the task needs 'tokens', as Windows(...) gives them")
    return jnp.asarray(batch["tokens"])


def _init(model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    return init_module(GROUP, model, key, _tokens(batch))


def _packed(model: nn.Module, batch: Mapping[str, Array]) -> dict[str, Array]:
    """What the model is told of packed sequences, if there are any."""
    if "tokens_segments" not in batch:
        return {}
    check_segments(model)
    return {"segments": batch["tokens_segments"]}


def _hidden(
    share: float, whole_words: bool, batch: Mapping[str, Array], key: Array, vocabulary: int
) -> tuple[Array, Array]:
    """The tokens as the model sees them, and which were chosen, bool; both [batch, time]."""
    tokens = _tokens(batch)
    if whole_words and "words" not in batch:
        raise UserError("batches have no 'words', which whole_words needs: give Windows(words=True)")

    def of_example(key: Array, tokens: Array, words: Array) -> tuple[Array, Array]:
        chance, fate, other = (jax.random.fold_in(key, number) for number in range(3))
        drawn = jax.random.uniform(chance, tokens.shape)[words]
        chosen = (drawn < share) & (tokens != PAD)
        fate = jax.random.uniform(fate, tokens.shape)
        anything = jax.random.randint(other, tokens.shape, SPECIALS, vocabulary)
        seen = jnp.where(fate < 0.8, UNKNOWN, jnp.where(fate < 0.9, anything, tokens))
        return jnp.where(chosen, seen, tokens), chosen

    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return jax.vmap(of_example)(example_keys(key, batch), tokens, batch["words"] if whole_words else places)


def _scored(
    model: nn.Module,
    choose: Any,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    draws: Array,
    key: Array | None = None,
) -> tuple[Array, Array, Array, PyTree]:
    """Sums of the loss and of what is right over chosen places, how many there are, and the new variables."""
    tokens, chosen = choose(batch, draws, model.encoder.vocabulary)  # type: ignore
    logits, variables = apply_module(GROUP, model, params, variables, tokens, key=key, **_packed(model, batch))
    logits = jnp.asarray(logits, jnp.float32)
    counted = batch["weight"][:, None] * chosen
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), _tokens(batch)[..., None], axis=-1)[..., 0]
    right = logits.argmax(-1) == _tokens(batch)
    return -jnp.sum(counted * picked), jnp.sum(counted * right), jnp.sum(counted), variables


def _loss(
    model: nn.Module,
    choose: Any,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    loss, right, total, variables = _scored(
        model, choose, params, variables, batch, key, module_key(jax.random.fold_in(key, 1), batch)
    )
    return Outcome(
        terms={"cross_entropy": Term(loss, total)}, variables=variables, metrics={"accuracy": (right, total)}
    )


def _evaluate(
    model: nn.Module, choose: Any, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    loss, right, total, _ = _scored(model, choose, params, variables, batch, key)
    return Evaluation({"loss": (loss, total), "accuracy": (right, total)})


def _predict(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    tokens = _tokens(batch)
    logits, _ = apply_module(GROUP, model, params, variables, tokens, **_packed(model, batch))
    probabilities = jax.nn.softmax(jnp.asarray(logits, jnp.float32))
    guess = SPECIALS + probabilities[..., SPECIALS:].argmax(-1).astype(tokens.dtype)
    guess = jnp.where(tokens == UNKNOWN, guess, tokens)
    return {"guess": guess, "probability": jnp.take_along_axis(probabilities, guess[..., None], axis=-1)[..., 0]}


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    from jaxdl.viz.language import text_of

    hidden = np.asarray(example["tokens"]) == UNKNOWN
    guess = np.asarray(outputs["guess"])
    return {
        "text": text_of(guess, names.get("tokens")),
        "guesses": [text_of(each, names.get("tokens")) for each in guess[hidden][:, None]],
        "probabilities": [round(float(each), 4) for each in np.asarray(outputs["probability"])[hidden]],
    }


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`texts`: up to 8 texts beside what the model makes of them."""
    from jaxdl.viz.language import text_of
    from jaxdl.viz.text import translation_table

    del metrics
    rows = np.flatnonzero(np.asarray(batch["weight"]) > 0)[:8]
    given, made = (
        [text_of(np.asarray(values)[row], names.get("tokens")) for row in rows]
        for values in (batch["tokens"], outputs["guess"])
    )
    return {"texts": translation_table(given, made)}
