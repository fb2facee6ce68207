"""Convolutional state-space model for video prediction, after ConvS5 (Smith et al. 2023, arXiv:2310.19694).

Logical axis names are those of `jaxdl.models.resnet` and `jaxdl.models.layers.dense.dense`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.convlstm import check_horizon, to_frames, to_tubelets
from jaxdl.models.layers.convolution import classifier_head, constrain, convolution
from jaxdl.models.layers.dense import dense, normal, variance_scaling
from jaxdl.models.layers.norms import layer_norm
from jaxdl.models.layers.recurrence import linear_recurrence

Array = jax.Array

# Initial |a|: memories of about one step to a hundred (arXiv:2303.06349, Section 3.3).
_SLOWEST, _FASTEST = 0.99, 0.4


class DiagonalSSM(nn.Module):
    """Diagonal linear recurrence over time, the same at each position (LRU, arXiv:2303.06349).

    h[t] = a h[t - 1] + sqrt(1 - |a|^2) B x[t] and y[t] = C h[t] with complex a = exp(-exp(nu) + i theta), by a parallel
    scan. B has complex outputs; C reads real and imaginary parts.

    Attributes:
      features: Channels of the output.
      states: Number of complex states.
    """

    features: int
    states: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns y [time, batch, h, w, features] of x [time, batch, h, w, channels]."""
        rate = jnp.exp(self.param("nu", _rates, (self.states,)))
        decay = jnp.exp(jax.lax.complex(-rate, jnp.asarray(self.param("theta", _angles, (self.states,)))))
        real, imaginary = jnp.split(dense(2 * self.states, use_bias=False, name="B")(x), 2, axis=-1)
        gain = jnp.sqrt(-jnp.expm1(-2.0 * rate))
        inputs = jax.lax.complex(gain * real, gain * imaginary)
        decays = jnp.broadcast_to(decay, (len(x), *(1,) * (x.ndim - 2), self.states))
        h = linear_recurrence(decays, inputs, jnp.zeros((), inputs.dtype))
        return dense(self.features, ("mlp", "embed"), name="C")(jnp.concatenate([h.real, h.imag], axis=-1))


def _rates(key: Array, shape: tuple[int]) -> Array:
    """Returns nu such that |a|^2 is uniform between the bounds."""
    squares = jax.random.uniform(key, shape, minval=_FASTEST**2, maxval=_SLOWEST**2)
    return jnp.log(-0.5 * jnp.log(squares))


def _angles(key: Array, shape: tuple[int]) -> Array:
    return jax.random.uniform(key, shape, maxval=math.pi / 2)


class ConvSSM(nn.Module):
    """Forecaster of residual blocks: a diagonal SSM over time, then a convolution in space.

    The frames and one learned vector for each step to predict form one sequence, which every block processes for all
    steps at once. ConvS5 predicts one frame after the other instead.

    x = x + SSM(norm(x)); x = x + W gelu(conv(norm(x))).

    Attributes:
      features: Channels of every block.
      layers: Number of blocks.
      states: Complex states of each block.
      size: Side of the kernels, odd.
      patch, tubelet: As in `ConvLSTMForecaster`.
    """

    features: int = 64
    layers: int = 4
    states: int = 32
    size: int = 3
    patch: int = 4
    tubelet: int = 2

    @nn.compact
    def __call__(self, frames: Array, *, horizon: int, train: bool) -> Array:
        """Returns logits float32 [batch, horizon, h, w, c] of the frames after `frames` [batch, time, h, w, c]."""
        check_horizon(horizon, self.tubelet)
        x = self._convolved(to_tubelets(frames, self.tubelet, self.patch), "embed")
        steps = horizon // self.tubelet
        blank = self.param("blank", nn.with_logical_partitioning(normal(0.02), ("channels",)), (self.features,))
        x = jnp.concatenate([x, jnp.repeat(x[-1:] + jnp.asarray(blank), steps, axis=0)])
        for number in range(1, self.layers + 1):
            y = layer_norm(train=train, name=f"ssm{number}_norm")(x)
            x = x + DiagonalSSM(self.features, self.states, name=f"ssm{number}")(y)
            y = layer_norm(train=train, name=f"conv{number}_norm")(x)
            y = nn.gelu(self._convolved(y, f"conv{number}"))
            x = x + dense(self.features, ("mlp", "embed"), name=f"project{number}")(y)
        x = layer_norm(train=train, name="norm")(x[-steps:])
        pixels = classifier_head(frames.shape[-1] * self.tubelet * self.patch**2, name="final")(x)
        return to_frames(pixels, self.tubelet, self.patch)

    def _convolved(self, x: Array, name: str) -> Array:
        """Convolves every step of x [time, batch, h, w, channels] in space."""
        init = variance_scaling(1.0)
        layer = convolution(self.features, self.size, dtype="float32", use_bias=True, kernel_init=init, name=name)
        return constrain(layer(x.reshape(-1, *x.shape[2:]))).reshape(*x.shape[:-1], self.features)
