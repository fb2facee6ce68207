"""Token classification: a label for each word of a sentence, as named entities and parts of speech have it.

Batches: `tokens` int32 [batch, time] with `tokens_length` int32 [batch]; `label` int32 [batch, time], -1 where no word
begins; `weight` float32 [batch] (0 on padding), `index` [batch].
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.metrics.entities import entity_scores
from jaxdl.tasks.parts.apply import apply_module, batch_coupling, init_module
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term, module_key

GROUP = "tagger"


def token_classification(model: nn.Module, *, entities: bool = True) -> Any:
    """Trains the group "tagger" in one phase, "train", by cross-entropy over words.

    Args:
      model: `model(tokens, *, length, train) -> logits [batch, time, labels]`, such as
        `jaxdl.models.bert.TokenClassifier`.
      entities: labels are "B-type", "I-type" and "O", and whole entities are scored.

    Evaluation metrics: `loss` (nats a word), `accuracy` (share of words); with `entities` `precision`, `recall` and
    `f1`, each 0 to 1, over all entities together.
    Predictions: `label` int32 [batch, time], -1 where no word begins; `probability` float32 [batch, time] of it.

    Raises:
      UserError: when traced, batches without tokens, or logits of another shape.
    """
    return FunctionTask(
        init=functools.partial(_init, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model)),),
        evaluate=functools.partial(_evaluate, model, entities),
        predict=functools.partial(_predict, model),
        score=_score,
        draw=_draw,
        readable=_readable,
        batch_coupled=batch_coupling(model),
    )


def _tokens(batch: Mapping[str, Array]) -> tuple[Array, Array | None]:
    if "tokens" not in batch or "label" not in batch:
        raise UserError(
            f"batches have {', '.join(sorted(batch))}: the task needs 'tokens' and 'label', as Tagged(...) gives them"
        )
    return jnp.asarray(batch["tokens"]), batch.get("tokens_length")


def _init(model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    tokens, length = _tokens(batch)
    return init_module(GROUP, model, key, tokens, length=length)


def _logits(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array | None = None
) -> tuple[Array, PyTree]:
    """float32 [batch, time, labels], and the new variables."""
    tokens, length = _tokens(batch)
    drawn = None if key is None else module_key(key, batch)
    logits, variables = apply_module(GROUP, model, params, variables, tokens, key=drawn, length=length)
    logits = jnp.asarray(logits, jnp.float32)
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
        raise UserError(
            f"the model gives {logits.shape} for tokens {tokens.shape}: the task needs [batch, time, labels]"
        )
    return logits[:, : batch["label"].shape[1]], variables


def _sums(logits: Array, batch: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Sums of the loss and of what is right over words that count, and how many do."""
    label = batch["label"]
    counted = batch["weight"][:, None] * (label >= 0)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(label, 0)[..., None], axis=-1)[..., 0]
    right = logits.argmax(-1) == label
    return -jnp.sum(counted * picked), jnp.sum(counted * right), jnp.sum(counted)


def _loss(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    logits, variables = _logits(model, params, variables, batch, key)
    loss, right, total = _sums(logits, batch)
    return Outcome(
        terms={"cross_entropy": Term(loss, total)}, variables=variables, metrics={"accuracy": (right, total)}
    )


def _evaluate(
    model: nn.Module, entities: bool, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    logits, _ = _logits(model, params, variables, batch)
    loss, right, total = _sums(logits, batch)
    metrics = {"loss": (loss, total), "accuracy": (right, total)}
    if not entities:
        return Evaluation(metrics)
    return Evaluation(metrics, {"found": logits.argmax(-1).astype(jnp.int32), "label": batch["label"]})


def _score(records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
    del metrics
    if not records:
        return {}
    words = [np.flatnonzero(row >= 0) for row in records["label"]]
    found, true = (
        [[_name(number, names) for number in row[places]] for row, places in zip(records[name], words)]
        for name in ("found", "label")
    )
    return entity_scores(found, true)


def _name(number: Any, names: Names) -> str:
    known = names.get("label", ())
    return known[int(number)] if int(number) < len(known) else str(int(number))


def _predict(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    probabilities = jax.nn.softmax(_logits(model, params, variables, batch)[0])
    label = jnp.where(batch["label"] >= 0, probabilities.argmax(-1), -1).astype(jnp.int32)
    return {"label": label, "probability": probabilities.max(-1)}


def _words(example: Mapping[str, Any], label: np.ndarray, names: Names) -> list[tuple[str, str]]:
    """(word, tag) of a sentence."""
    from jaxdl.viz.language import text_of

    tokens, starts = np.asarray(example["tokens"]), np.flatnonzero(np.asarray(example["label"]) >= 0)
    length = int(example.get("tokens_length", len(tokens)))
    ends = [*starts[1:], length]
    return [
        (text_of(tokens[start:end], names.get("tokens")).strip(), _name(label[start], names))
        for start, end in zip(starts, ends)
    ]


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    words = _words(example, np.asarray(outputs["label"]), names)
    return {"words": [word for word, _ in words], "tags": [tag for _, tag in words]}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`entities`: up to 8 sentences, with what was found and what is right in brackets."""
    from jaxdl.metrics.entities import entities
    from jaxdl.viz.text import translation_table

    del metrics
    rows = np.flatnonzero(np.asarray(batch["weight"]) > 0)[:8]
    texts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for row in rows:
        example = {name: np.asarray(batch[name])[row] for name in ("tokens", "tokens_length", "label") if name in batch}
        for column, label in zip(texts, (None, outputs["label"][row], example["label"])):
            words = _words(example, example["label"] if label is None else np.asarray(label), names)
            plain = [word for word, _ in words]
            if label is not None:
                for start, end, kind in entities([tag for _, tag in words]):
                    plain[start], plain[end - 1] = f"[{plain[start]}", f"{plain[end - 1]}]{kind}"
                    if end - start == 1:
                        plain[start] = f"[{words[start][0]}]{kind}"
            column.append(" ".join(plain))
    return {"entities": translation_table(*texts)}
