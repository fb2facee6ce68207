"""Generators and discriminators of DCGAN (arXiv:1511.06434) and SNGAN (arXiv:1802.05957).

Images are float [batch, height, width, channels] in [-1, 1], latents [batch, latents]. Conditional generators take
`(latent, label, *, train)`, others `(latent, *, train)`. Discriminators take `(image, label, *, train)` or `(image, *,
train)` and return logits [batch]. Logical axis names are those of `jaxdl.models.resnet`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.convolution import constrain, convolution, shuffle, unshuffle, upsample_2x
from jaxdl.models.layers.dense import dense, gathered, variance_scaling
from jaxdl.models.layers.norms import Normalization, batch_norm
from jaxdl.models.layers.spectral_norm import SpectralConv, SpectralDense, SpectralEmbedding

SLOPE = 0.2  # leaky ReLU of DCGAN


def convolve_2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves [batch, h, w, c] with a kernel [2, 2, c, ..., channels], without padding.

    Four matrix products. XLA's forward pass is about as fast, but on CPU its kernel gradient takes 10 to 25 times as
    long for padded inputs, which second derivatives always have (measured with jaxlib 0.10.2).
    """
    kernel = with_logical_constraint(kernel, (*[None] * (kernel.ndim - 1), "channels"))  # see convolution
    height, width = x.shape[1] - 1, x.shape[2] - 1
    return sum(
        (jnp.tensordot(x[:, i : i + height, j : j + width], kernel[i, j], 1) for i in (0, 1) for j in (0, 1)),
        start=jnp.zeros((), x.dtype),
    )


class Upconvolution(nn.Module):
    """4x4 transposed convolution of stride 2, -> [batch, 2 * h, 2 * w, channels].

    Each of a value's four outputs depends on 2x2 inputs, so it is a 2x2 convolution with four times the channels. The
    kernel [2, 2, c, 4 * channels] is not sharded over outputs, whose shards would separate the four outputs.
    """

    channels: int
    use_bias: bool = False
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        init = nn.with_logical_partitioning(variance_scaling(2.0), (None, None, "channels_in", None))
        kernel = gathered(self.param("kernel", init, (2, 2, channels, 4 * self.channels)))
        kernel = kernel.reshape(2, 2, channels, 2, 2, self.channels)
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = convolve_2x2(x, jnp.asarray(kernel, self.dtype))
        rows = [
            jnp.stack([y[:, i : i + height, j : j + width, i, j] for j in (0, 1)], axis=3) for i in (0, 1)
        ]  # each [batch, h, w, 2, channels]
        y = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, self.channels)
        if self.use_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("channels",))
            y = y + jnp.asarray(self.param("bias", zeros, (self.channels,)), self.dtype)
        return y


class Downconvolution(nn.Module):
    """4x4 convolution of stride 2, -> [batch, h // 2, w // 2, channels].

    Computed as a 2x2 convolution after pixel unshuffling. The kernel is [2, 2, 4 * c, channels], with input channels
    ordered by row, column and channel of a 2x2 square.
    """

    channels: int
    input_axis: str | None = "channels_in"
    use_bias: bool = True
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _, height, width, channels = x.shape
        rows, columns = height // 2 + 1, width // 2 + 1
        init = nn.with_logical_partitioning(variance_scaling(2.0), (None, None, self.input_axis, "channels"))
        kernel = self.param("kernel", init, (2, 2, 4 * channels, self.channels))
        # Odd heights and widths need no padding at the end.
        ends = (1, 2 * rows - height - 1), (1, 2 * columns - width - 1)
        x = jnp.pad(x.astype(self.dtype), ((0, 0), *ends, (0, 0)))
        y = convolve_2x2(unshuffle(x, 2), jnp.asarray(kernel, self.dtype))
        if self.use_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("channels",))
            y = y + jnp.asarray(self.param("bias", zeros, (self.channels,)), self.dtype)
        return y


class DCGANGenerator(nn.Module):
    """DCGAN generator with transposed convolutions and tanh (arXiv:1511.06434).

    [batch, latents] -> [batch, size * 2**n, size * 2**n, outputs] with n = len(channels): 28x28 from size 7 and two
    channels, 64x64 from size 4 and four. Kernel initialization depends on the fan-in, unlike the paper's std of 0.02.

    Attributes:
      outputs: Channels of an image.
      size: Size of the first map.
      channels: Channels of the maps, coarsest first.
      norm: Normalization factory (see `jaxdl.models.layers.norms`), batch normalization in the paper.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    outputs: int
    size: int = 7
    channels: Sequence[int] = (128, 64)
    norm: Normalization = batch_norm
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, latent: jax.Array, *, train: bool) -> jax.Array:
        x = _first_map(latent, self.size, self.channels[0])
        for level, channels in enumerate(self.channels):
            if level:
                x = Upconvolution(channels, dtype=self.dtype, name=f"up{level}")(x)
            x = constrain(nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{level + 1}")(x)))
        x = Upconvolution(self.outputs, use_bias=True, dtype=self.dtype, name="image")(x)
        return jnp.tanh(x.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """DCGAN discriminator, [batch, h, w, c] -> logits [batch].

    Attributes:
      channels: Channels of each 4x4 convolution, which halves height and width.
      norm: Normalization factory after each convolution but the first, batch normalization in the paper. None for none,
        as gradient penalties require.
      dtype: Computation dtype of convolutions.
    """

    channels: Sequence[int] = (64, 128)
    norm: Normalization | None = None
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        x = image
        for level, channels in enumerate(self.channels):
            norm = self.norm if level else None
            axis = "channels_in" if level else None
            x = Downconvolution(channels, axis, norm is None, self.dtype, name=f"conv{level + 1}")(x)
            if norm is not None:
                x = norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{level + 1}")(x)
            x = constrain(nn.leaky_relu(x, SLOPE))
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return dense(1, ("embed", "classes"), name="head")(x)[:, 0]


def _first_map(latent: jax.Array, size: int, channels: int) -> jax.Array:
    """Projects latents to [batch, size, size, channels]; a normalization replaces the bias."""
    x = dense(size * size * channels, use_bias=False, name="project")(latent)
    return x.reshape(-1, size, size, channels)


class ConditionalNorm(nn.Module):
    """Class-conditional normalization (arXiv:1707.00683), [batch, h, w, c] -> the same shape.

    Scales and biases of each class are added to those of the normalization and are initially 0. Without a label they
    are omitted.
    """

    norm: Normalization
    classes: int
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None, *, train: bool) -> jax.Array:
        x = self.norm(train=train, dtype=jnp.dtype(self.dtype), name="norm")(x)
        if label is None:
            return x
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("classes", "channels"))
        parts = [gathered(self.param(name, init, (self.classes, x.shape[-1])))[label] for name in ("scale", "bias")]
        scale, bias = (jnp.asarray(part, self.dtype)[:, None, None] for part in parts)
        return x * (1.0 + scale) + bias


class ResNetGenerator(nn.Module):
    """ResNet generator of SNGAN with tanh (arXiv:1802.05957, table 4).

    latent [batch, latents], label int32 [batch] or None -> [batch, patch * size * 2**n, patch * size * 2**n, outputs]
    with n = len(channels) - 1.

    Attributes:
      outputs: Channels of an image.
      size: Size of the first map.
      channels: Channels of the first map and of the blocks, each of which doubles height and width.
      classes: Number of classes. 0: unconditional.
      norm: Normalization factory (see `jaxdl.models.layers.norms`), conditional on the class.
      patch: Side of the blocks of pixels that are channels of the last convolution (arXiv:1609.05158).
      dtype: Computation dtype of convolutions.
    """

    outputs: int
    size: int = 7
    channels: Sequence[int] = (128, 64, 32)
    classes: int = 0
    norm: Normalization = batch_norm
    patch: int = 1
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        x = _first_map(latent, self.size, self.channels[0])
        for level, channels in enumerate(self.channels[1:], start=1):
            block = UpResidual(channels, self.classes, self.norm, self.dtype, name=f"block{level}")
            x = block(x, label, train=train)
        x = nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name="norm")(x))
        outputs = self.patch**2 * self.outputs
        x = _convolution(outputs, 3, dtype=self.dtype, name="image", use_bias=True, output_axis=None)(x)
        return jnp.tanh(shuffle(x, self.patch).astype(jnp.float32))


class UpResidual(nn.Module):
    """Pre-activation residual block with upsampling, -> [batch, 2 * h, 2 * w, channels]."""

    channels: int
    classes: int
    norm: Normalization
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None, *, train: bool) -> jax.Array:
        options = (self.norm, self.classes, self.dtype)
        y = nn.relu(ConditionalNorm(*options, name="norm1")(x, label, train=train))
        y = _convolution(self.channels, 3, dtype=self.dtype, name="conv1")(upsample_2x(y))
        y = nn.relu(ConditionalNorm(*options, name="norm2")(constrain(y), label, train=train))
        y = _convolution(self.channels, 3, dtype=self.dtype, name="conv2", use_bias=True)(y)
        # The 1x1 convolution commutes with upsampling and costs a quarter before it.
        shortcut = _convolution(self.channels, 1, dtype=self.dtype, name="shortcut")
        return constrain(y + upsample_2x(shortcut(x)))


_convolution = functools.partial(convolution, kernel_init=variance_scaling(1.0))


class ResNetDiscriminator(nn.Module):
    """SNGAN discriminator with class projection (arXiv:1802.05957, arXiv:1802.05637).

    image [batch, h, w, c], label int32 [batch] or None -> logits [batch].

    Attributes:
      channels: Channels of each block.
      halvings: Number of first blocks that halve height and width, which must be even there.
      classes: Number of classes. 0: unconditional.
      patch: Side of the blocks of pixels that are channels of the first block, which divides height and width.
      dtype: Computation dtype of convolutions.
    """

    channels: Sequence[int] = (32, 64, 128)
    halvings: int = 2
    classes: int = 0
    patch: int = 1
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        del train  # equal in training and evaluation
        x = unshuffle(image, self.patch)
        for level, channels in enumerate(self.channels):
            halve = level < self.halvings
            x = DownResidual(channels, halve, level == 0, self.dtype, name=f"block{level + 1}")(x)
        features = nn.relu(x).astype(jnp.float32).sum(axis=(1, 2))
        logits = SpectralDense(1, name="head")(features)[:, 0]
        if label is None:
            return logits
        vectors = SpectralEmbedding(self.classes, features.shape[-1], name="projection")(label)
        return logits + jnp.sum(vectors * features, axis=-1)


class DownResidual(nn.Module):
    """Pre-activation residual block of spectral norm 1, with 2x2 mean pooling if `halve`.

    [batch, h, w, c] -> [batch, h / 2, w / 2, channels], or [batch, h, w, channels].
    """

    channels: int
    halve: bool
    first: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        axis = None if self.first else "channels_in"
        halved = mean_pool_2x2 if self.halve else (lambda x: x)
        y = x if self.first else nn.relu(x)
        y = nn.relu(constrain(SpectralConv(self.channels, 3, axis, self.dtype, name="conv1")(y)))
        y = SpectralConv(self.channels, 3, dtype=self.dtype, name="conv2")(y)
        # Mean pooling commutes with the 1x1 convolution, which costs a quarter after it.
        shortcut = halved(x)
        if self.halve or self.first or x.shape[-1] != self.channels:
            shortcut = SpectralConv(self.channels, 1, axis, self.dtype, name="shortcut")(shortcut)
        return constrain(halved(y) + shortcut)


def mean_pool_2x2(x: jax.Array) -> jax.Array:
    """Applies 2x2 mean pooling, [batch, h, w, c] -> [batch, h / 2, w / 2, c]; h and w are even."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
