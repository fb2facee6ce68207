"""Sequence classification: one label a sequence, softmax cross-entropy.

Batches: `tokens` int32 [batch, time] with `tokens_length` int32 [batch], or `inputs` float [batch, time, channels] with
`inputs_length`; a length is how many steps from the first on are valid, and may be left out where all are. `label`
int32 [batch], `weight` float32 [batch] (0 on padding), `index` [batch].
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

GROUP = "classifier"


def sequence_classification(model: nn.Module, *, label_smoothing: float = 0.0) -> Any:
    """Trains the group "classifier" in one phase, "train", by cross-entropy.

    Args:
      model: `model(x, *, length, train) -> logits [batch, classes]`, of x int32 [batch, time] or float [batch, time,
        channels]; `length` int32 [batch], or None where every step is valid.
      label_smoothing: share of the target spread evenly over all classes (arXiv:1512.00567), in [0, 1).

    Evaluation metrics: `loss` (without smoothing), `accuracy`, and `confusion` [classes, classes] (share of all
    examples by true class, row, and predicted class, column).
    Predictions: `label` int32 [batch], `probability` [batch] of that label, `probabilities` [batch, classes].

    Raises:
      UserError: an argument out of range; when traced, batches without sequences, or logits of another shape.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing={label_smoothing}: must be at least 0 and below 1")
    return FunctionTask(
        init=functools.partial(init_reader, GROUP, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model, label_smoothing)),),
        evaluate=functools.partial(_evaluate, model),
        predict=functools.partial(_predict, model),
        draw=_draw,
        batch_coupled=batch_coupling(model),
    )


def sequences(batch: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """The sequences of a batch, [batch, time] or [batch, time, channels], and how long they are, [batch] or None.

    Raises:
      UserError: there are none, or of another shape.
    """
    for name, axes in (("tokens", "[batch, time]"), ("inputs", "[batch, time, channels]")):
        if name in batch:
            values = jnp.asarray(batch[name])
            if values.ndim != axes.count(",") + 1:
                raise UserError(f"{name} has shape {values.shape}: the task needs {axes}")
            return values, batch.get(f"{name}_length")
    raise UserError(f"batches have {', '.join(sorted(batch))}: the task needs 'tokens' or 'inputs'")


def init_reader(group: str, model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    """(params {group: tree}, variables {group: collections}) of a model that reads sequences."""
    values, length = sequences(batch)
    return init_module(group, model, key, values, length=length)


def read(
    group: str,
    model: nn.Module,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array | None = None,
) -> tuple[Array, PyTree]:
    """What a model says of each sequence, float32 [batch, outputs], and the new variables. `key` is for training.

    Raises:
      UserError: the model gives another shape.
    """
    values, length = sequences(batch)
    drawn = None if key is None else module_key(key, batch)
    outputs, variables = apply_module(group, model, params, variables, values, key=drawn, length=length)
    outputs = jnp.asarray(outputs, jnp.float32)
    if outputs.ndim != 2 or outputs.shape[0] != values.shape[0]:
        raise UserError(
            f"the model gives {outputs.shape} for {values.shape[0]} sequences: the task needs [batch, outputs]"
        )
    return outputs, variables


def _loss(
    model: nn.Module,
    label_smoothing: float,
    params: PyTree,
    variables: PyTree,
    batch: Mapping[str, Array],
    key: Array,
    step: Array,
) -> Outcome:
    del step
    logits, variables = read(GROUP, model, params, variables, batch, key)
    classes, weight = logits.shape[-1], batch["weight"]
    target = (1.0 - label_smoothing) * jax.nn.one_hot(batch["label"], classes) + label_smoothing / classes
    cross_entropy = -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)
    return Outcome(
        terms={"cross_entropy": Term(jnp.sum(weight * cross_entropy), jnp.sum(weight))},
        variables=variables,
        metrics={"accuracy": (jnp.sum(weight * (logits.argmax(-1) == batch["label"])), jnp.sum(weight))},
    )


def _evaluate(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    logits, _ = read(GROUP, model, params, variables, batch)
    classes, weight = logits.shape[-1], batch["weight"]
    truth = jax.nn.one_hot(batch["label"], classes)
    guess = jax.nn.one_hot(logits.argmax(-1), classes)
    total = jnp.sum(weight)
    return Evaluation(
        {
            "loss": (-jnp.sum(weight * jnp.sum(truth * jax.nn.log_softmax(logits), axis=-1)), total),
            "accuracy": (jnp.sum(weight * jnp.sum(truth * guess, axis=-1)), total),
            "confusion": (jnp.einsum("bi,bj->ij", truth * weight[:, None], guess), total),
        }
    )


def _predict(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    probabilities = jax.nn.softmax(read(GROUP, model, params, variables, batch)[0])
    return {
        "label": probabilities.argmax(-1).astype(jnp.int32),
        "probability": probabilities.max(-1),
        "probabilities": probabilities,
    }


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`predictions`: texts, if it is text that was read, with their classes; `confusion`: if it was evaluated."""
    from jaxdl.viz.classification import confusion_matrix
    from jaxdl.viz.language import labelled_texts, text_of

    classes = np.shape(outputs["probabilities"])[-1]
    class_names = names.get("label") or [str(index) for index in range(classes)]
    pictures: dict[str, np.ndarray] = {}
    if "tokens" in batch:
        shown = np.flatnonzero(np.asarray(batch["weight"]) > 0)
        lengths = batch.get("tokens_length", np.full(len(batch["tokens"]), np.shape(batch["tokens"])[1]))
        pictures["predictions"] = labelled_texts(
            [text_of(np.asarray(batch["tokens"][row])[: int(lengths[row])], names.get("tokens")) for row in shown],
            np.asarray(batch["label"])[shown] if "label" in batch else None,
            np.asarray(outputs["label"])[shown],
            np.asarray(outputs["probability"])[shown],
            class_names,
        )
    if "confusion" in metrics:
        pictures["confusion"] = confusion_matrix(np.asarray(metrics["confusion"]), class_names)
    return pictures
