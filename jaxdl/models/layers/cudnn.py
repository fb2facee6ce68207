"""LSTM by cuDNN, which keeps weights on the chip between steps of time.

cuDNN's kernel runs on one NVIDIA GPU, has no padding at the beginning, and has no forward-mode derivatives.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.models.layers.recurrence import Array, State


def available() -> bool:
    """Returns whether cuDNN computes: on one NVIDIA GPU, outside of a mesh of several devices."""
    return jax.default_backend() == "gpu" and jax.sharding.get_abstract_mesh().size <= 1


def cudnn_weights(kernel: Array, recurrent_kernel: Array, bias: Array) -> Array:
    """Returns the weights of a layer in cuDNN's order; its second bias is 0.

    Args:
      kernel: [channels, 4 * features], gates in the order input, forget, candidate, output, which is cuDNN's.
      recurrent_kernel: [features, 4 * features].
      bias: [4 * features].

    Returns:
      [4 * features * (channels + features + 2)].
    """
    return jnp.concatenate([kernel.T.reshape(-1), recurrent_kernel.T.reshape(-1), bias, jnp.zeros_like(bias)])


def cudnn_lstm(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, state: State, reverse: bool
) -> tuple[Array, State]:
    """Computes `jaxdl.models.layers.recurrence.lstm` without a mask, batch-major.

    Args:
      x: [batch, time, channels].
      kernel: As for `cudnn_weights`.
      recurrent_kernel: As for `cudnn_weights`.
      bias: As for `cudnn_weights`.
      state: (output, cell), each [batch, features].
      reverse: Runs from the last step to the first.

    Returns:
      Outputs [batch, time, features] and the final state.
    """
    from jax.experimental import rnn

    batch, length, channels = x.shape
    features = recurrent_kernel.shape[0]
    lengths = jnp.full(batch, length, jnp.int32)
    weights = cudnn_weights(kernel, recurrent_kernel, bias)
    output, cell = (part[None] for part in state)
    x = x[:, ::-1] if reverse else x
    lstm: Any = rnn.lstm
    outputs, output, cell = lstm(x, output, cell, weights, lengths, channels, features, 1, 0.0, False)
    return outputs[:, ::-1] if reverse else outputs, (output[0], cell[0])
