"""Application of models to batches of padded sequences."""

import jax.numpy as jnp

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.training.task import Array, Batch, PyTree


def sequences(batch: Batch) -> tuple[Array, Array | None]:
    """Returns the sequences of a batch and their lengths [batch], or None if no step is padding.

    Sequences are `tokens` int32 [batch, time], or else `inputs` float [batch, time, channels].

    Raises:
      UserError: A batch without sequences, or sequences with another number of axes.
    """
    for name, axes in (("tokens", "[batch, time]"), ("inputs", "[batch, time, channels]")):
        if name in batch:
            values = jnp.asarray(batch[name])
            if values.ndim != axes.count(",") + 1:
                raise UserError(f"{name} has shape {values.shape}; the task needs {axes}")
            return values, batch.get(f"{name}_length")
    raise UserError(f"batches have {', '.join(sorted(batch))}; the task needs 'tokens' or 'inputs'")


def init_sequence_model(task: ModelTask, key: Array, batch: Batch) -> tuple[dict, dict]:
    """Returns (params {group: tree}, variables {group: collections}) of a task's model of sequences."""
    values, length = sequences(batch)
    return task.init_model(key, values, length=length)


def apply_sequence_model(
    task: ModelTask, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
) -> tuple[Array, PyTree]:
    """Returns the outputs of a task's model of sequences, float32 [batch, outputs], and the new variables.

    Raises:
      UserError: Outputs of another shape.
    """
    values, length = sequences(batch)
    outputs, variables = task.apply_model(params, variables, batch, key, values, length=length)
    return float_outputs(outputs, values.shape[0], "outputs"), variables
