"""Sequence regression."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import per_example
from jaxdl.tasks.parts.averages import mean
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.sequences import apply_sequence_model, init_sequence_model
from jaxdl.training.task import Array, Batch, Evaluation, Outcome, PyTree, Term
from jaxdl.viz.gradients import SequenceRegressionPresentation


@dataclass(frozen=True, eq=False)
class SequenceRegression(ModelTask):
    """Sequence regression with squared error: one or several numbers per sequence.

    Trains the group "regressor" in one phase, "train". Term: `squared_error`, its mean over outputs.

    Batches: `inputs` float [batch, time, channels]; `inputs_length` int32 [batch], the number of valid steps, which may
    be absent if no step is padding; `target` float [batch] or [batch, outputs].

    Evaluation metrics: `mse` and `mae`, means over examples and outputs, and `gradient_norm` [time], the norm of
    d loss_i / d inputs_i[t], averaged over the examples i that have a step t. A norm that decreases towards the first
    steps indicates vanishing gradients, one that increases exploding gradients (Bengio, Simard and Frasconi, "Learning
    Long-Term Dependencies with Gradient Descent is Difficult", 1994).

    Predictions: `value` float32 [batch], or [batch, outputs] for several outputs.

    Attributes:
      model: Regressor, `model(inputs, *, length, train) -> [batch, outputs]`, with one output for a `target` [batch].
        `length` is int32 [batch], or None if no step is padding.

    Raises:
      UserError: A batch without `inputs`, or a target of another shape than the outputs.
    """

    group: ClassVar[str] = "regressor"
    presentation = SequenceRegressionPresentation()
    average = staticmethod(mean)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return init_sequence_model(self, key, _without_tokens(batch, _inputs(batch)))

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        outputs, variables = self._apply(params, variables, batch, _inputs(batch), key)
        errors = _errors(outputs, batch)
        return Outcome(
            terms={"squared_error": Term(*per_example(batch, jnp.mean(jnp.square(errors), axis=-1)))},
            variables=variables,
            metrics={"mae": per_example(batch, jnp.mean(jnp.abs(errors), axis=-1))},
        )

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        inputs = _inputs(batch)

        def total(inputs: Array) -> tuple[Array, tuple[Array, Array]]:
            errors = _errors(self._apply(params, variables, batch, inputs)[0], batch)
            squared = jnp.mean(jnp.square(errors), axis=-1)
            return jnp.sum(squared), (squared, jnp.mean(jnp.abs(errors), axis=-1))

        # Examples are independent, so the gradient of the sum contains the gradient of each example's loss.
        gradients, (squared, absolute) = jax.grad(total, has_aux=True)(inputs)
        steps = jnp.arange(inputs.shape[1])
        valid = (
            steps < batch["inputs_length"][:, None] if "inputs_length" in batch else jnp.ones(inputs.shape[:2], bool)
        )
        weight = batch["weight"][:, None] * valid
        norms = vector_norms(gradients.astype(jnp.float32))
        return Evaluation(
            {
                "mse": per_example(batch, squared),
                "mae": per_example(batch, absolute),
                "gradient_norm": (jnp.sum(weight * norms, axis=0), jnp.sum(weight, axis=0)),
            }
        )

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        outputs, _ = self._apply(params, variables, batch, _inputs(batch))
        return {"value": outputs[:, 0] if outputs.shape[-1] == 1 else outputs}

    def _apply(
        self, params: PyTree, variables: PyTree, batch: Batch, inputs: Array, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        return apply_sequence_model(self, params, variables, _without_tokens(batch, inputs), key)


def vector_norms(vectors: Array) -> Array:
    """Returns norms [...] of vectors [..., channels] without underflow of the squares."""
    largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0)
    return (scale * jnp.linalg.norm(vectors / scale, axis=-1, keepdims=True))[..., 0]


def _inputs(batch: Batch) -> Array:
    """Returns the inputs; they must be floats, because the evaluation differentiates by them."""
    if "inputs" not in batch or not jnp.issubdtype(batch["inputs"].dtype, jnp.floating):
        raise UserError(
            f"batches have {', '.join(sorted(batch))}; the task needs 'inputs', float [batch, time, channels]"
        )
    return jnp.asarray(batch["inputs"])


def _without_tokens(batch: Batch, inputs: Array) -> dict[str, Array]:
    """Returns the batch with new `inputs` and without `tokens`, which take precedence."""
    return {**{name: value for name, value in batch.items() if name != "tokens"}, "inputs": inputs}


def _errors(outputs: Array, batch: Batch) -> Array:
    """Returns outputs minus target, float32 [batch, outputs]."""
    target = jnp.asarray(batch["target"], jnp.float32)
    target = target[:, None] if target.ndim == 1 else target
    if target.shape != outputs.shape:
        raise UserError(
            f"the model returns {outputs.shape} for a target of shape {batch['target'].shape}; set the model's outputs"
            " to the target's"
        )
    return outputs - target
