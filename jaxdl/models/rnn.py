"""Recurrent layers (RNN, GRU, LSTM, LSTM by cuDNN, layer-normalized LSTM, minGRU) and their stacks.

A layer is called as `layer(x, *, mask=None, state=None) -> (outputs, state)` with x [batch, time, channels], mask bool
[batch, time] and outputs [batch, time, features], 0 where the mask is False. Its class is an argument of the networks
in `jaxdl.models.sequence`, such as `cell=GRU`.

Gates and their order are those of cuDNN and PyTorch. Two bias vectors that are only added are one here.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers import cudnn
from jaxdl.models.layers.dense import gathered
from jaxdl.models.layers.recurrence import (
    Array,
    State,
    linear_recurrence,
    lstm,
    lstm_gates,
    scan_cell,
)


class Cell(nn.Module):
    """Base class of recurrent layers.

    Attributes:
      features: Width of the output and of each array of the state.
      reverse: Runs from the last step to the first.
    """

    features: int
    reverse: bool = False

    @staticmethod
    def states() -> int:
        """Returns the number of arrays in the state."""
        return 1

    def kernels(self, channels: int, gates: int, bias: Callable[[], Array] | None = None) -> tuple[Array, Array, Array]:
        """Returns kernel, recurrent kernel and bias, each [..., gates * features].

        The recurrent kernel of each gate is orthogonal (Saxe et al. 2013, arXiv:1312.6120).
        """
        size = self.features

        def orthogonal(key: Array, shape: tuple[int, int]) -> Array:
            return reflections(key, gates, size).transpose(1, 0, 2).reshape(shape)

        axes = ("embed", "mlp")
        return (
            self.whole("kernel", nn.initializers.glorot_uniform(), (channels, gates * size), axes),
            self.whole("recurrent_kernel", orthogonal, (size, gates * size), axes),
            self.whole("bias", nn.initializers.zeros if bias is None else lambda key, shape: bias(), (gates * size,)),
        )

    def whole(self, name: str, init: Any, shape: tuple[int, ...], axes: tuple[str, ...] = ("mlp",)) -> Array:
        """Returns a parameter, gathered because one step is too small to be sharded."""
        value = self.param(name, nn.with_logical_partitioning(init, axes), shape)
        return gathered(value)

    def start(self, x: Array, state: State | None) -> State:
        """Returns the state before the first step, zeros by default."""
        return self.zeros(x.shape[0]) if state is None else state

    def zeros(self, batch: int) -> State:
        return tuple(jnp.zeros((batch, self.features)) for _ in range(self.states()))

    def run(self, step: Callable[[State, Array], State], x: Array, mask: Array | None, state: State | None):
        outputs, last = scan_cell(step, swap(x), time_major(mask), self.start(x, state), self.reverse)
        return masked(swap(outputs), mask), last


def reflections(key: Array, count: int, size: int) -> Array:
    """Returns random orthogonal matrices [count, size, size] (Stewart 1980).

    `jnp.linalg.qr` is not used: two concurrent batched calls can deadlock on CPU with jaxlib 0.10.
    """
    draws = jnp.triu(jax.random.normal(key, (count, size, size)))
    lengths = jnp.sqrt(jnp.sum(draws**2, axis=-1, keepdims=True))
    directions = draws + jnp.sign(draws) * lengths * jnp.eye(size)  # reflects draw k onto axis k
    directions /= jnp.sqrt(jnp.sum(directions**2, axis=-1, keepdims=True))

    def reflect(number: Array, product: Array) -> Array:
        direction = directions[:, number, :, None]
        return product - 2 * direction * jnp.sum(direction * product, axis=1, keepdims=True)

    return jax.lax.fori_loop(0, size, reflect, jnp.broadcast_to(jnp.eye(size), directions.shape))


def swap(x: Array) -> Array:
    """Swaps batch and time, [batch, time, ...] <-> [time, batch, ...]."""
    return jnp.swapaxes(x, 0, 1)


def time_major(mask: Array | None) -> Array | None:
    """Returns the mask [batch, time] as [time, batch, 1]."""
    return None if mask is None else mask.T[..., None]


def masked(x: Array, mask: Array | None) -> Array:
    """Zeroes x [batch, time, features] where the mask [batch, time] is False."""
    return x if mask is None else jnp.where(mask[..., None], x, 0)


class RNN(Cell):
    """Simple RNN, h = tanh(x W + h U + b) (Elman 1990)."""

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, state: State | None = None) -> tuple[Array, State]:
        kernel, recurrent, bias = self.kernels(x.shape[-1], 1)
        return self.run(lambda h, x: (jnp.tanh(x @ kernel + bias + h[0] @ recurrent),), x, mask, state)


class GRU(Cell):
    """Gated recurrent unit, reset after the product as in cuDNN (arXiv:1406.1078).

    Gates: reset, update, candidate. The reset gate multiplies the separate recurrent bias `candidate_bias` [features].
    """

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, state: State | None = None) -> tuple[Array, State]:
        kernel, recurrent, bias = self.kernels(x.shape[-1], 3)
        candidate_bias = self.whole("candidate_bias", nn.initializers.zeros, (self.features,))

        def step(state: State, x: Array) -> State:
            (h,) = state
            x_r, x_z, x_n = jnp.split(x @ kernel + bias, 3, axis=-1)
            h_r, h_z, h_n = jnp.split(h @ recurrent, 3, axis=-1)
            reset, update = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            candidate = jnp.tanh(x_n + reset * (h_n + candidate_bias))
            return (candidate + update * (h - candidate),)

        return self.run(step, x, mask, state)


class LSTM(Cell):
    """Long short-term memory (see `jaxdl.models.layers.recurrence.lstm`).

    Gates: input, forget, candidate, output. The forget bias is initially 1 (Jozefowicz et al. 2015).
    """

    @staticmethod
    def states() -> int:
        return 2

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, state: State | None = None) -> tuple[Array, State]:
        kernel, recurrent, bias = self.kernels(x.shape[-1], 4, lambda: forget_bias(self.features))
        start = self.start(x, state)
        outputs, last = lstm(swap(x), kernel, recurrent, bias, time_major(mask), start, self.reverse)  # pyright: ignore
        return masked(swap(outputs), mask), last


class CudnnLSTM(LSTM):
    """LSTM with the same parameters and outputs, computed by cuDNN on one GPU where no steps are masked.

    It has no forward-mode derivatives on GPUs.
    """

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, state: State | None = None) -> tuple[Array, State]:
        kernel, recurrent, bias = self.kernels(x.shape[-1], 4, lambda: forget_bias(self.features))
        start = self.start(x, state)
        if mask is None and cudnn.available():
            return cudnn.cudnn_lstm(x, kernel, recurrent, bias, start, self.reverse)
        outputs, last = lstm(swap(x), kernel, recurrent, bias, time_major(mask), start, self.reverse)  # pyright: ignore
        return masked(swap(outputs), mask), last


def forget_bias(features: int) -> Array:
    """Returns the initial bias [4 * features]: 1 for the forget gate, 0 for the others."""
    return jnp.zeros((4, features)).at[1].set(1.0).reshape(-1)


class LayerNormLSTM(Cell):
    """LSTM with layer normalization of gates and cell (Ba et al. 2016, arXiv:1607.06450).

    Input and recurrent products have the scales `input_scale` and `recurrent_scale` [4 * features]; the cell has
    `cell_scale` and `cell_bias` [features].

    Attributes:
      epsilon: Epsilon of the normalization.
    """

    epsilon: float = 1e-5

    @staticmethod
    def states() -> int:
        return 2

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, state: State | None = None) -> tuple[Array, State]:
        size = self.features
        kernel, recurrent, bias = self.kernels(x.shape[-1], 4, lambda: forget_bias(size))
        input_scale, recurrent_scale = (
            self.whole(name, nn.initializers.ones, (4 * size,)) for name in ("input_scale", "recurrent_scale")
        )
        cell_scale = self.whole("cell_scale", nn.initializers.ones, (size,))
        cell_bias = self.whole("cell_bias", nn.initializers.zeros, (size,))

        def step(state: State, x: Array) -> State:
            h, c = state
            pre = self._normalized(x @ kernel) * input_scale + self._normalized(h @ recurrent) * recurrent_scale + bias
            i, f, g, o = lstm_gates(pre)
            c = f * c + i * g
            return o * jnp.tanh(self._normalized(c) * cell_scale + cell_bias), c

        return self.run(step, x, mask, state)

    def _normalized(self, x: Array) -> Array:
        centered = x - x.mean(-1, keepdims=True)
        return centered * jax.lax.rsqrt(jnp.mean(centered**2, -1, keepdims=True) + self.epsilon)


class MinGRU(Cell):
    """MinGRU, whose gates depend on the input only (arXiv:2410.01201).

    h[t] = (1 - z[t]) h[t - 1] + z[t] g(x[t] V) with z = sigmoid(x W + b), g(a) = a + 1/2 for a >= 0 and sigmoid(a)
    otherwise, which keeps the state positive.
    """

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, state: State | None = None) -> tuple[Array, State]:
        size = self.features
        kernel = self.whole("kernel", nn.initializers.glorot_uniform(), (x.shape[-1], 2 * size), ("embed", "mlp"))
        bias = self.whole("bias", nn.initializers.zeros, (2 * size,))
        gate, candidate = jnp.split(swap(x) @ kernel + bias, 2, axis=-1)
        candidate = jnp.where(candidate >= 0, candidate + 0.5, jax.nn.sigmoid(candidate))
        update = jax.nn.sigmoid(gate)
        valid = time_major(mask)
        if valid is not None:
            update = jnp.where(valid, update, 0)
        (start,) = self.start(x, state)
        outputs = linear_recurrence(1 - update, update * candidate, start, self.reverse)
        return masked(swap(outputs), mask), (outputs[0 if self.reverse else -1],)


def initial_state(cell: type[Cell], features: int, layers: int, batch: int) -> tuple[State, ...]:
    """Returns the initial state of a stack: a tuple of zeros [batch, features] per layer."""
    zeros = jnp.zeros((batch, features))
    return tuple((zeros,) * cell.states() for _ in range(layers))


class Stack(nn.Module):
    """Stack of recurrent layers, [batch, time, channels] -> [batch, time, features].

    Attributes:
      features: Width of every layer, in one direction.
      layers: Number of layers.
      cell: Class of the layers.
      bidirectional: Each layer runs in both directions; outputs are concatenated, [batch, time, 2 * features].
      dropout: Dropout rate between layers.
    """

    features: int
    layers: int = 1
    cell: type[Cell] = LSTM
    bidirectional: bool = False
    dropout: float = 0.0

    def setup(self):
        self.forward = [self.cell(self.features, name=f"layer{number + 1}") for number in range(self.layers)]
        both = range(self.layers if self.bidirectional else 0)
        self.backward = [self.cell(self.features, reverse=True, name=f"layer{number + 1}_backward") for number in both]
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, x: Array, *, length: Array | None = None, state: tuple[State, ...] | None = None, train: bool
    ) -> tuple[Array, tuple[State, ...]]:
        """Returns outputs [batch, time, features], 0 on padding, and the final forward states.

        Args:
          x: [batch, time, channels].
          length: int32 [batch], the number of valid steps. None: all.
          state: State of a previous call, not for bidirectional stacks. None: zeros.
          train: Whether dropout is active. It draws from the key "dropout".
        """
        mask = None if length is None else jnp.arange(x.shape[1])[None] < length[:, None]
        last = []
        for number, layer in enumerate(self.forward):
            if number:
                x = self.drop(x, deterministic=not train)
            outputs, layer_state = layer(x, mask=mask, state=None if state is None else state[number])
            if self.bidirectional:
                outputs = jnp.concatenate([outputs, self.backward[number](x, mask=mask)[0]], axis=-1)
            x = with_logical_constraint(outputs, ("batch", None, None))
            last.append(layer_state)
        return x, tuple(last)
