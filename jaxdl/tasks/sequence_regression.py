"""Sequence regression: one number, or a few, a sequence; squared error.

Batches: `inputs` float [batch, time, channels], `target` float [batch] or [batch, outputs], `weight` float32 [batch] (0
on padding), `index` [batch]; and `inputs_length` int32 [batch], how many steps from the first on are valid, which may
be left out where all are.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.tasks.sequence_classification import init_reader, read
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term

GROUP = "regressor"


def sequence_regression(model: nn.Module) -> Any:
    """Trains the group "regressor" in one phase, "train", by the squared error, its mean over the outputs.

    Args:
      model: `model(inputs, *, length, train) -> [batch, outputs]`; `length` int32 [batch], or None where every step is
        valid. For a `target` [batch] it has one output.

    Evaluation metrics: `mse` and `mae`, means over examples and outputs; `gradient_norm` [time]: how strongly each step
    of the input acts on the loss, the norm of d loss_i / d inputs_i[t], averaged over the examples i that have a step
    t. Where it falls towards the first steps the gradient vanishes on its way back, where it rises it explodes
    (Bengio, Simard and Frasconi, "Learning Long-Term Dependencies with Gradient Descent is Difficult", 1994).
    Predictions: `value` float32 [batch], or [batch, outputs] if there is more than one.

    Raises:
      UserError: when traced, batches without `inputs`, or a target of another shape than the model's outputs.
    """
    return FunctionTask(
        init=functools.partial(_init, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model)),),
        evaluate=functools.partial(_evaluate, model),
        predict=functools.partial(_predict, model),
        draw=_draw,
        batch_coupled=batch_coupling(model),
    )


def _check(batch: Mapping[str, Array]) -> Array:
    """The inputs, which have to be numbers that a gradient can be taken of."""
    if "inputs" not in batch or not jnp.issubdtype(batch["inputs"].dtype, jnp.floating):
        raise UserError(
            f"batches have {', '.join(sorted(batch))}: the task needs 'inputs', float [batch, time, channels]"
        )
    return jnp.asarray(batch["inputs"])


def _init(model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    return init_reader(GROUP, model, key, _only_inputs(batch, _check(batch)))


def _only_inputs(batch: Mapping[str, Array], inputs: Array) -> dict[str, Array]:
    """The batch with other inputs, and without tokens, which would be read first."""
    return {**{name: value for name, value in batch.items() if name != "tokens"}, "inputs": inputs}


def _errors(outputs: Array, batch: Mapping[str, Array]) -> Array:
    """What the model says minus the target, float32 [batch, outputs]."""
    target = jnp.asarray(batch["target"], jnp.float32)
    target = target[:, None] if target.ndim == 1 else target
    if target.shape != outputs.shape:
        raise UserError(
            f"the model gives {outputs.shape} for a target of {batch['target'].shape}: set its outputs to the target's"
        )
    return outputs - target


def _loss(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    outputs, variables = read(GROUP, model, params, variables, _only_inputs(batch, _check(batch)), key)
    errors = _errors(outputs, batch)
    weight, total = batch["weight"], jnp.sum(batch["weight"])
    return Outcome(
        terms={"squared_error": Term(jnp.sum(weight * jnp.mean(jnp.square(errors), axis=-1)), total)},
        variables=variables,
        metrics={"mae": (jnp.sum(weight * jnp.mean(jnp.abs(errors), axis=-1)), total)},
    )


def _evaluate(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    inputs, weight = _check(batch), batch["weight"]

    def summed(inputs: Array) -> tuple[Array, tuple[Array, Array]]:
        errors = _errors(read(GROUP, model, params, variables, _only_inputs(batch, inputs))[0], batch)
        squared = jnp.mean(jnp.square(errors), axis=-1)
        return jnp.sum(squared), (squared, jnp.mean(jnp.abs(errors), axis=-1))

    # Examples do not act on each other: the gradient of the sum holds that of each one's own loss.
    gradients, (squared, absolute) = jax.grad(summed, has_aux=True)(inputs)
    steps = jnp.arange(inputs.shape[1])
    valid = steps < batch["inputs_length"][:, None] if "inputs_length" in batch else jnp.ones(inputs.shape[:2], bool)
    counted = weight[:, None] * valid
    norms = _norms(gradients.astype(jnp.float32))
    total = jnp.sum(weight)
    return Evaluation(
        {
            "mse": (jnp.sum(weight * squared), total),
            "mae": (jnp.sum(weight * absolute), total),
            "gradient_norm": (jnp.sum(counted * norms, axis=0), jnp.sum(counted, axis=0)),
        }
    )


def _norms(vectors: Array) -> Array:
    """The norms of vectors [..., channels], [...]; scaled, for squares of what has vanished are zero in float32."""
    largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0)
    return (scale * jnp.linalg.norm(vectors / scale, axis=-1, keepdims=True))[..., 0]


def _predict(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    outputs, _ = read(GROUP, model, params, variables, _only_inputs(batch, _check(batch)))
    return {"value": outputs[:, 0] if outputs.shape[-1] == 1 else outputs}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`gradient_norm`: the gradient at each step, if it was evaluated."""
    from jaxdl.viz.gradients import gradient_norms

    del batch, outputs, names
    return (
        {"gradient_norm": gradient_norms({"gradient": metrics["gradient_norm"]})} if "gradient_norm" in metrics else {}
    )
