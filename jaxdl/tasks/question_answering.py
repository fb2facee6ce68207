"""Extractive question answering: which part of a text answers a question (Rajpurkar et al. 2016, arXiv:1606.05250).

Batches: `tokens` int32 [batch, time], a question and a text; `tokens_length` int32 [batch]; `begin` int32 [batch], the
place where the text begins; `first` and `last` int32 [batch], those of the answer's first and last token; `weight`
float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import apply_module, batch_coupling, init_module
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term, module_key

GROUP = "reader"
_NEVER = -1e9


def question_answering(model: nn.Module, *, longest: int = 30) -> Any:
    """Trains the group "reader" in one phase, "train": cross-entropy of where the answer begins, and of where it ends.

    Args:
      model: `model(tokens, *, length, types, train) -> [batch, time, 2]`, such as
        `jaxdl.models.bert.TokenClassifier(encoder, outputs=2)`: how much a token looks like the first, and the last.
      longest: tokens that an answer may have.

    Evaluation metrics: `loss` (the sum of both, nats), `exact_match` (share of answers that are right in their first
    and last token), `f1` (mean over the answers, of the tokens that are in both).
    Predictions: `first`, `last` int32 [batch]; `probability` float32 [batch] of that answer.

    Raises:
      UserError: an argument out of range.
    """
    if longest < 1:
        raise UserError(f"longest={longest}: an answer has 1 token or more")
    return FunctionTask(
        init=functools.partial(_init, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model)),),
        evaluate=functools.partial(_evaluate, model, longest),
        predict=functools.partial(_predict, model, longest),
        draw=_draw,
        readable=_readable,
        batch_coupled=batch_coupling(model),
    )


def _inputs(batch: Mapping[str, Array]) -> tuple[Array, dict[str, Any]]:
    for name in ("tokens", "tokens_length", "begin"):
        if name not in batch:
            raise UserError(f"batches have {', '.join(sorted(batch))}: the task needs '{name}', as Spans(...) gives it")
    tokens = jnp.asarray(batch["tokens"])
    types = (jnp.arange(tokens.shape[1]) >= batch["begin"][:, None]).astype(jnp.int32)
    return tokens, {"length": batch["tokens_length"], "types": types}


def _init(model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    tokens, more = _inputs(batch)
    return init_module(GROUP, model, key, tokens, **more)


def _scores(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array | None = None
) -> tuple[Array, PyTree]:
    """Log-probabilities float32 [batch, time, 2] over the places of the text, and the new variables."""
    tokens, more = _inputs(batch)
    drawn = None if key is None else module_key(key, batch)
    outputs, variables = apply_module(GROUP, model, params, variables, tokens, key=drawn, **more)
    place = jnp.arange(tokens.shape[1])
    text = (more["types"] > 0) & (place < batch["tokens_length"][:, None])
    outputs = jnp.where(text[..., None], jnp.asarray(outputs, jnp.float32), _NEVER)
    return jax.nn.log_softmax(outputs, axis=1), variables


def _losses(scores: Array, batch: Mapping[str, Array]) -> Array:
    """float32 [batch]."""
    places = jnp.stack([batch["first"], batch["last"]], axis=-1)[:, None]
    return -jnp.take_along_axis(scores, places, axis=1)[:, 0].sum(-1)


def _loss(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    scores, variables = _scores(model, params, variables, batch, key)
    weight = batch["weight"]
    right = jnp.all(scores.argmax(1) == jnp.stack([batch["first"], batch["last"]], axis=-1), axis=-1)
    return Outcome(
        terms={"cross_entropy": Term(jnp.sum(weight * _losses(scores, batch)), jnp.sum(weight))},
        variables=variables,
        metrics={"exact_match": (jnp.sum(weight * right), jnp.sum(weight))},
    )


def _best(scores: Array, longest: int) -> tuple[Array, Array, Array]:
    """The most probable answer of at most `longest` tokens: first and last int32 [batch], log-probability [batch]."""
    time = scores.shape[1]
    ahead = jnp.arange(time)[None] - jnp.arange(time)[:, None]
    both = scores[:, :, None, 0] + scores[:, None, :, 1]
    both = jnp.where((ahead >= 0) & (ahead < longest), both, 2 * _NEVER).reshape(scores.shape[0], -1)
    best = both.argmax(-1)
    return (best // time).astype(jnp.int32), (best % time).astype(jnp.int32), both.max(-1)


def _evaluate(
    model: nn.Module, longest: int, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    scores, _ = _scores(model, params, variables, batch)
    weight = batch["weight"]
    first, last, _ = _best(scores, longest)
    exact = (first == batch["first"]) & (last == batch["last"])
    shared = jnp.minimum(last, batch["last"]) - jnp.maximum(first, batch["first"]) + 1
    total = (last - first + 1) + (batch["last"] - batch["first"] + 1)
    figures = {
        "loss": _losses(scores, batch),
        "exact_match": exact.astype(jnp.float32),
        "f1": 2.0 * jnp.maximum(shared, 0) / total,
    }
    return Evaluation({name: (jnp.sum(weight * value), jnp.sum(weight)) for name, value in figures.items()})


def _predict(
    model: nn.Module, longest: int, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    first, last, score = _best(_scores(model, params, variables, batch)[0], longest)
    return {"first": first, "last": last, "probability": jnp.exp(score)}


def _answer(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> str:
    from jaxdl.viz.language import text_of

    return text_of(np.asarray(example["tokens"])[int(outputs["first"]) : int(outputs["last"]) + 1], names.get("tokens"))


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {"answer": _answer(example, outputs, names).strip(), "probability": float(outputs["probability"])}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`answers`: up to 8 questions, what was answered and what is right."""
    from jaxdl.viz.language import text_of
    from jaxdl.viz.text import translation_table

    del metrics
    rows = np.flatnonzero(np.asarray(batch["weight"]) > 0)[:8]
    asked, given, right = [], [], []
    for row in rows:
        example = {"tokens": np.asarray(batch["tokens"])[row]}
        begin = int(batch["begin"][row])
        asked.append(text_of(example["tokens"][1 : begin - 1], names.get("tokens")).strip())
        given.append(_answer(example, {name: value[row] for name, value in outputs.items()}, names).strip())
        truth = {"first": batch["first"][row], "last": batch["last"][row]}
        right.append(_answer(example, truth, names).strip())
    return {"answers": translation_table(asked, given, right)}
