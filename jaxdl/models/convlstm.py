"""Convolutional LSTM (Shi et al. 2015, arXiv:1506.04214) for video prediction.

Logical axis names are those of `jaxdl.models.resnet`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.convolution import classifier_head, constrain, convolution, shuffle, unshuffle
from jaxdl.models.layers.dense import dense, variance_scaling
from jaxdl.models.layers.recurrence import lstm_gates

Array = jax.Array
State = tuple[Array, Array]  # output and cell, each [batch, h, w, features]


class ConvLSTM(nn.Module):
    """Convolutional LSTM layer without peephole connections.

    i, f, g, o = split(W * x + U * h + b); c = sigmoid(f) c + sigmoid(i) tanh(g); h = sigmoid(o) tanh(c), where `*` is a
    convolution. The forget bias is initially 1.

    Attributes:
      features: Channels of output and cell.
      size: Side of the kernels, odd.
    """

    features: int
    size: int = 3

    @nn.compact
    def __call__(self, x: Array | None, state: State, steps: int) -> tuple[Array, State]:
        """Returns outputs [time, batch, h, w, features] and the final state.

        Args:
          x: [time, batch, h, w, channels], or None without inputs.
          state: Initial state.
          steps: Number of time steps.
        """
        gates, bias = 4 * self.features, self.param("bias", _bias, (4 * self.features,))
        init = variance_scaling(1.0)
        recurrent = convolution(gates, self.size, dtype="float32", kernel_init=init, name="recurrent")
        inputs = jnp.zeros((steps, 1, 1, 1, 1))
        if x is not None:
            # All steps in one convolution.
            of_inputs = convolution(gates, self.size, dtype="float32", kernel_init=init, name="inputs")
            inputs = of_inputs(x.reshape(-1, *x.shape[2:])).reshape(*x.shape[:-1], gates)
        outputs = []
        # Not a scan: XLA:CPU runs the gradient of a convolution inside a loop 70 times slower (jaxlib 0.10.2).
        for now in inputs:
            h, c = state
            i, f, g, o = lstm_gates(now + recurrent(h) + bias)
            c = f * c + i * g
            state = (constrain(o * jnp.tanh(c)), c)
            outputs.append(state[0])
        return jnp.stack(outputs), state


def _bias(key: Array, shape: tuple[int]) -> Array:
    return jnp.zeros((4, shape[0] // 4)).at[1].set(1.0).reshape(-1)


class ConvLSTMForecaster(nn.Module):
    """Encoder-forecaster of ConvLSTM layers on patches (arXiv:1506.04214, Section 3.2).

    The encoder reads the frames. The forecaster, with parameters of its own, starts at the encoder's states, has no
    inputs, and predicts frames from the outputs of all of its layers, with one hidden 1x1 layer.

    Attributes:
      features: Channels of every layer.
      layers: Number of layers in encoder and forecaster.
      size: Side of the kernels, odd.
      patch: Side of the patches of pixels that are one position, a divisor of height and width.
      tubelet: Frames per time step (arXiv:2103.15691), a divisor of the numbers of frames.
    """

    features: int = 64
    layers: int = 2
    size: int = 3
    patch: int = 4
    tubelet: int = 2

    @nn.compact
    def __call__(self, frames: Array, *, horizon: int, train: bool) -> Array:
        """Returns logits float32 [batch, horizon, h, w, c] of the frames after `frames` [batch, time, h, w, c]."""
        del train  # equal in training and evaluation
        check_horizon(horizon, self.tubelet)
        x = to_tubelets(frames, self.tubelet, self.patch)
        zeros = jnp.zeros((*x.shape[1:4], self.features))
        states: list[State] = []
        for number in range(self.layers):
            x, state = ConvLSTM(self.features, self.size, name=f"encoder{number + 1}")(x, (zeros, zeros), len(x))
            states.append(state)
        x, outputs = None, []
        for number, state in enumerate(states):
            layer = ConvLSTM(self.features, self.size, name=f"forecaster{number + 1}")
            x, _ = layer(x, state, horizon // self.tubelet)
            outputs.append(x)
        x = nn.gelu(dense(self.layers * self.features, name="mix")(jnp.concatenate(outputs, axis=-1)))
        pixels = classifier_head(frames.shape[-1] * self.tubelet * self.patch**2, name="final")(x)
        return to_frames(pixels, self.tubelet, self.patch)


def to_tubelets(frames: Array, tubelet: int, patch: int) -> Array:
    """Returns space-time patches, time-major (arXiv:2103.15691).

    [batch, time, h, w, c] -> [time / tubelet, batch, h / patch, w / patch, tubelet * patch ** 2 * c].

    Raises:
      ValueError: `patch` does not divide height and width, or `tubelet` does not divide the number of frames.
    """
    batch, time, height, width, channels = frames.shape
    if height % patch or width % patch or time % tubelet:
        raise ValueError(
            f"patch={patch} and tubelet={tubelet} do not divide {time} frames of {height}x{width} pixels; use divisors"
        )
    x = frames.reshape(batch, time // tubelet, tubelet, height, width, channels).transpose(1, 0, 3, 4, 2, 5)
    x = unshuffle(x.reshape(-1, height, width, tubelet * channels), patch)
    return x.reshape(time // tubelet, batch, *x.shape[1:])


def check_horizon(horizon: int, tubelet: int) -> None:
    """Raises ValueError if the horizon is not a number of whole steps."""
    if horizon % tubelet:
        raise ValueError(f"tubelet={tubelet} does not divide horizon={horizon}; use a divisor")


def to_frames(x: Array, tubelet: int, patch: int) -> Array:
    """Returns frames [batch, time, h, w, c] of space-time patches, the inverse of `to_tubelets`."""
    steps, batch = x.shape[:2]
    frames = shuffle(x.reshape(-1, *x.shape[2:]), patch)
    height, width = frames.shape[1:3]
    frames = frames.reshape(steps, batch, height, width, tubelet, -1).transpose(1, 0, 4, 2, 3, 5)
    frames = frames.reshape(batch, steps * tubelet, height, width, -1)
    return with_logical_constraint(frames, ("batch", None, None, None, None))
