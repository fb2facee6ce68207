"""U-Net of denoising diffusion models (DDPM; Ho et al. 2020, arXiv:2006.11239).

Diffusion networks are `network(image [batch, h, w, c], level float32 [batch], label int32 [batch] or None, *, train) ->
float32 [batch, h, w, outputs]`. `level` is the noise level on a scale of about 1,000. The label `classes` is the null
label of classifier-free guidance (arXiv:2207.12598).

Logical axis names. Parameters: "channels_in" and "channels" of convolutions as in `jaxdl.models.resnet`; "embed",
"heads" and "mlp" of dense layers. Activations: "batch", "channels_act".
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.attention import MultiHeadAttention
from jaxdl.models.layers.convolution import constrain, convolution, shuffle, unshuffle, upsample_2x
from jaxdl.models.layers.dense import Activation, Embedding, dense, variance_scaling
from jaxdl.models.layers.norms import GroupNorm
from jaxdl.models.layers.posemb import sinusoids


class Condition(nn.Module):
    """Embedding of noise level [batch] and of the condition, -> [batch, features].

    The condition is a class int32 [batch], with `classes`, or a vector [batch, c], such as a text embedding.

    Attributes:
      features: Width of the embedding.
      frequencies: Number of sinusoids of the noise level.
      classes: Number of classes. 0: unconditional.
      activation: Activation between the two dense layers.
    """

    features: int
    frequencies: int
    classes: int
    activation: Activation = nn.silu

    @nn.compact
    def __call__(self, level: jax.Array, label: jax.Array | None) -> jax.Array:
        x = dense(self.features, ("embed", "mlp"), name="level1")(sinusoids(level, self.frequencies))
        x = dense(self.features, ("mlp", "embed"), name="level2")(self.activation(x))
        if self.classes:
            if label is None:
                raise ValueError(f"the network is conditional on {self.classes} classes; the batch needs 'label'")
            # As large as the embedding of the level: with a smaller std the label has little effect for many steps.
            x = x + Embedding(self.classes + 1, self.features, init_std=1.0, name="label")(label)
        elif label is not None:
            x = x + dense(self.features, (None, "embed"), name="vector")(label)
        return x


_convolution = functools.partial(convolution, use_bias=True, kernel_init=variance_scaling(1.0))


class ResidualBlock(nn.Module):
    """Conditional residual block, [batch, h, w, c] -> [batch, h, w, channels].

    The second convolution is initially 0. If the number of channels changes, the shortcut is a 1x1 convolution.
    """

    channels: int
    groups: int
    epsilon: float
    dropout: float
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, *, train: bool) -> jax.Array:
        h = self.activation(self._norm(x.shape[-1], "norm1")(x))
        h = constrain(_convolution(self.channels, 3, dtype=self.dtype, name="conv1")(h))
        shift = self.activation(condition)
        shift = dense(self.channels, ("embed", "channels"), dtype=self.dtype, name="condition")(shift)
        h = self.activation(self._norm(self.channels, "norm2")(h + shift[:, None, None]))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        options: Any = {"dtype": self.dtype, "kernel_init": nn.initializers.zeros}
        h = constrain(_convolution(self.channels, 3, name="conv2", **options)(h))
        if x.shape[-1] != self.channels:
            x = _convolution(self.channels, 1, dtype=self.dtype, name="shortcut")(x)
        return x + h

    def _norm(self, channels: int, name: str) -> GroupNorm:
        return GroupNorm(channels // self.groups, self.epsilon, jnp.dtype(self.dtype), name=name)


class SelfAttention(nn.Module):
    """Residual self-attention over the positions of a map [batch, h, w, c]."""

    heads: int
    groups: int
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = GroupNorm(x.shape[-1] // self.groups, self.epsilon, jnp.dtype(self.dtype), name="norm")(x)
        h = MultiHeadAttention(x.shape[-1], self.heads, dtype=jnp.dtype(self.dtype), name="attention")(
            h.reshape(x.shape[0], -1, x.shape[-1])
        )
        return x + h.reshape(x.shape)


class DiffusionUNet(nn.Module):
    """U-Net of DDPM (Ho et al. 2020, arXiv:2006.11239).

    Downsampling is a 3x3 convolution of stride 2, upsampling nearest neighbour and a 3x3 convolution. Each decoder
    block concatenates one output of the encoder.

    Attributes:
      outputs: Number of output channels.
      channels: Channels of each level, finest first.
      blocks: Number of residual blocks per encoder level; decoder levels have one more.
      attention: Whether each level has attention after its blocks. The middle always has.
      heads: Number of attention heads.
      classes: Number of classes. 0: unconditional.
      groups: Number of groups of group normalization.
      epsilon: Epsilon of group normalization.
      dropout: Dropout rate in residual blocks.
      patch: Side of patches that are one position. On CPU the finest level is the most expensive.
      activation: Activation after normalizations and in the condition.
      dtype: Computation dtype, such as "bfloat16". Parameters and output are float32.
    """

    outputs: int
    channels: Sequence[int] = (128, 256, 256, 256)
    blocks: int = 2
    attention: Sequence[bool] = (False, True, False, False)
    heads: int = 1
    classes: int = 0
    groups: int = 32
    epsilon: float = 1e-6
    dropout: float = 0.0
    patch: int = 1
    activation: Activation = nn.silu
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, level: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] of images with noise levels and labels.

        Raises:
          ValueError: An image size that the levels do not divide, or `attention` of another length than `channels`.
        """
        self._check(image.shape)
        condition = Condition(4 * self.channels[0], self.channels[0], self.classes, self.activation, name="condition")(
            level, label
        )
        x = unshuffle(image, self.patch) if self.patch > 1 else image
        x = constrain(_convolution(self.channels[0], 3, dtype=self.dtype, name="entry", input_axis=None)(x))
        skips = [x]
        levels = range(len(self.channels))
        for number in levels:
            for block in range(self.blocks):
                x = self._block(number, f"down{number + 1}_{block + 1}")(x, condition, train=train)
                if self.attention[number]:
                    x = self._attend(f"down{number + 1}_attention{block + 1}")(x)
                skips.append(x)
            if number < levels[-1]:
                x = constrain(_convolution(self.channels[number], 3, 2, dtype=self.dtype, name=f"halve{number + 1}")(x))
                skips.append(x)
        x = self._block(levels[-1], "middle1")(x, condition, train=train)
        x = self._attend("middle_attention")(x)
        x = self._block(levels[-1], "middle2")(x, condition, train=train)
        for number in reversed(levels):
            for block in range(self.blocks + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._block(number, f"up{number + 1}_{block + 1}")(x, condition, train=train)
                if self.attention[number]:
                    x = self._attend(f"up{number + 1}_attention{block + 1}")(x)
            if number > 0:
                double = _convolution(self.channels[number], 3, dtype=self.dtype, name=f"double{number + 1}")
                x = constrain(double(upsample_2x(x)))
        x = self.activation(GroupNorm(x.shape[-1] // self.groups, self.epsilon, name="norm")(x))
        options: Any = {"kernel_init": nn.initializers.zeros, "output_axis": None, "dtype": "float32"}
        x = _convolution(self.outputs * self.patch**2, 3, name="final", **options)(x)
        return shuffle(x, self.patch) if self.patch > 1 else x

    def _block(self, number: int, name: str) -> ResidualBlock:
        options = (self.groups, self.epsilon, self.dropout, self.activation, self.dtype)
        return ResidualBlock(self.channels[number], *options, name=name)

    def _attend(self, name: str) -> SelfAttention:
        return SelfAttention(self.heads, self.groups, self.epsilon, self.dtype, name=name)

    def _check(self, shape: Sequence[int]) -> None:
        if len(self.attention) != len(self.channels):
            raise ValueError(
                f"DiffusionUNet: {len(self.attention)} values of attention for {len(self.channels)} levels"
            )
        factor = self.patch * 2 ** (len(self.channels) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise ValueError(f"DiffusionUNet: {factor} does not divide images of {shape[1]}x{shape[2]}; set patch")
