"""Generators and discriminators: DCGAN (arXiv:1511.06434) and a spectrally normalized ResNet (arXiv:1802.05957).

Images are float [batch, height, width, channels] in [-1, 1], latents [batch, latents]. A generator that knows classes
takes `(latent, label, *, train)`, else `(latent, *, train)`; a discriminator `(image, label, *, train)` or
`(image, *, train)`, and gives logits [batch]. Logical axis names as in `jaxdl.models.resnet`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.convolution import constrain, convolve_gathered, convolve_whole, upsample_2x
from jaxdl.models.layers.dense import dense, gathered, variance_scaling
from jaxdl.models.layers.norms import Normalization, batch_norm
from jaxdl.models.layers.spectral_norm import SpectralConv, SpectralDense, SpectralEmbedding

SLOPE = 0.2  # of a leaky ReLU, as in DCGAN


def convolve_2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[batch, h, w, c] by a kernel [2, 2, c, ..., channels], without padding -> [batch, h - 1, w - 1, ..., channels].

    Four matrix products. XLA's convolution is about as fast forwards, but on CPU its kernel's gradient takes 10 to 25
    times as long where the input was padded, as it always is in a second derivative (measured with jaxlib 0.10.2).
    """
    kernel = with_logical_constraint(kernel, (*[None] * (kernel.ndim - 1), "channels"))  # see convolve_gathered
    height, width = x.shape[1] - 1, x.shape[2] - 1
    return sum(
        (jnp.tensordot(x[:, i : i + height, j : j + width], kernel[i, j], 1) for i in (0, 1) for j in (0, 1)),
        start=jnp.zeros((), x.dtype),
    )


class Upconvolution(nn.Module):
    """A 4x4 transposed convolution of stride 2: [batch, h, w, c] -> [batch, 2 * h, 2 * w, channels].

    Each of the four outputs of a value sees 2x2 inputs, so it is one 2x2 convolution with four times the channels, of
    which every output takes its own, moved by one.
    Kernel [2, 2, c, 4 * channels], which is not cut along its outputs: as four times the channels they would be cut
    into the four, not into channels.
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
    """A 4x4 convolution of stride 2, padded by 1: [batch, h, w, c] -> [batch, h // 2, w // 2, channels].

    Squares of 2x2 values become channels, of which a 2x2 convolution makes the same numbers. Kernel [2, 2, 4 * c,
    channels], its input channels by row, column and channel within a square.
    """

    channels: int
    input_axis: str | None = "channels_in"
    use_bias: bool = True
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        rows, columns = height // 2 + 1, width // 2 + 1
        init = nn.with_logical_partitioning(variance_scaling(2.0), (None, None, self.input_axis, "channels"))
        kernel = self.param("kernel", init, (2, 2, 4 * channels, self.channels))
        # An odd height or width needs no padding at its end.
        ends = (1, 2 * rows - height - 1), (1, 2 * columns - width - 1)
        x = jnp.pad(x.astype(self.dtype), ((0, 0), *ends, (0, 0)))
        x = x.reshape(batch, rows, 2, columns, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, rows, columns, 4 * channels)
        y = convolve_2x2(x, jnp.asarray(kernel, self.dtype))
        if self.use_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("channels",))
            y = y + jnp.asarray(self.param("bias", zeros, (self.channels,)), self.dtype)
        return y


class DCGANGenerator(nn.Module):
    """A latent becomes a small map, which transposed convolutions double until it is the image; tanh at the end.

    [batch, latents] -> [batch, size * 2**n, size * 2**n, outputs] with n = len(channels): 28x28 from size 7 and two
    channels, 64x64 from size 4 and four. Kernels are drawn by their fan-in, not at 0.02 as in the paper.

    Attributes:
      outputs: channels of an image.
      size: of the first map.
      channels: of the maps, coarsest first.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`; the paper's by default.
      dtype: what convolutions compute in, "float32" or "bfloat16".
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
    """Convolutions 4x4 of stride 2 with leaky ReLU, then one linear map: [batch, h, w, c] -> logits [batch].

    Attributes:
      channels: of each convolution, which halves height and width.
      norm: after each convolution but the first, with the signature of `jaxdl.models.layers.norms.batch_norm`, which is
        the paper's; None for none, as gradient penalties need it.
      dtype: what convolutions compute in.
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
    """[batch, latents] -> [batch, size, size, channels]; called inside a generator. A norm follows: no bias."""
    x = dense(size * size * channels, use_bias=False, name="project")(latent)
    return x.reshape(-1, size, size, channels)


class ConditionalNorm(nn.Module):
    """A norm whose scale and bias depend on the class (arXiv:1707.00683): [batch, h, w, c] -> the same shape.

    Each class adds to the norm's own scale and bias; its parts start at 0. Without a label it is the norm alone.
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
    """Residual blocks that double a map until it is the image (arXiv:1802.05957, table 4); tanh at the end.

    latent [batch, latents], label int32 [batch] or None -> [batch, size * 2**n, size * 2**n, outputs], where n is
    len(channels) - 1: each block after the first map doubles it.

    Attributes:
      outputs: channels of an image.
      size: of the first map.
      channels: of the first map and of the blocks.
      classes: how many labels there are; 0 if the generator is given none.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`, with a scale and bias a class.
      dtype: what convolutions compute in.
    """

    outputs: int
    size: int = 7
    channels: Sequence[int] = (128, 64, 32)
    classes: int = 0
    norm: Normalization = batch_norm
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        x = _first_map(latent, self.size, self.channels[0])
        for level, channels in enumerate(self.channels[1:], start=1):
            block = UpResidual(channels, self.classes, self.norm, self.dtype, name=f"block{level}")
            x = block(x, label, train=train)
        x = nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name="norm")(x))
        x = _same(self.outputs, 3, self.dtype, "image", use_bias=True, image=True)(x)
        return jnp.tanh(x.astype(jnp.float32))


class UpResidual(nn.Module):
    """Norm, ReLU, doubling, 3x3, norm, ReLU, 3x3, beside a doubled 1x1 shortcut.

    [batch, h, w, c] -> [batch, 2 * h, 2 * w, channels].
    """

    channels: int
    classes: int
    norm: Normalization
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None, *, train: bool) -> jax.Array:
        options = (self.norm, self.classes, self.dtype)
        y = nn.relu(ConditionalNorm(*options, name="norm1")(x, label, train=train))
        y = _same(self.channels, 3, self.dtype, "conv1")(upsample_2x(y))
        y = nn.relu(ConditionalNorm(*options, name="norm2")(constrain(y), label, train=train))
        y = _same(self.channels, 3, self.dtype, "conv2", use_bias=True)(y)
        # The 1x1 convolution before the doubling: the same numbers for a quarter of the work.
        return constrain(y + upsample_2x(_same(self.channels, 1, self.dtype, "shortcut")(x)))


def _same(channels: int, size: int, dtype: Any, name: str, use_bias: bool = False, image: bool = False) -> nn.Conv:
    """A square convolution that keeps height and width; one that makes an `image` has few channels, not cut."""
    axis = None if image else "channels"
    return nn.Conv(
        channels,
        (size, size),
        padding=((size // 2, size // 2),) * 2,
        use_bias=use_bias,
        dtype=jnp.dtype(dtype),
        kernel_init=nn.with_logical_partitioning(variance_scaling(1.0), (None, None, "channels_in", axis)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axis,)),
        conv_general_dilated=convolve_whole if image else convolve_gathered,
        name=name,
    )


class ResNetDiscriminator(nn.Module):
    """Residual blocks of spectral norm 1, a sum over the last map, a linear map; classes by projection.

    image [batch, h, w, c], label int32 [batch] or None -> logits [batch]. With a label the logit gains the product of
    the summed features and the class's vector (Miyato & Koyama 2018, arXiv:1802.05637).

    Attributes:
      channels: of each block.
      halvings: so many of the first blocks halve height and width, which must be even there.
      classes: how many labels there are; 0 if the discriminator is given none.
      dtype: what convolutions compute in.
    """

    channels: Sequence[int] = (32, 64, 128)
    halvings: int = 2
    classes: int = 0
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        del train  # nothing that differs
        x = image
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
    """ReLU (but not before an image), 3x3, ReLU, 3x3, beside a 1x1 shortcut, both halved by 2x2 means if `halve`.

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
        # Mean and 1x1 convolution may change places: the mean first has a quarter of the work.
        shortcut = halved(x)
        if self.halve or self.first or x.shape[-1] != self.channels:
            shortcut = SpectralConv(self.channels, 1, axis, self.dtype, name="shortcut")(shortcut)
        return constrain(halved(y) + shortcut)


def mean_pool_2x2(x: jax.Array) -> jax.Array:
    """[batch, h, w, c] -> [batch, h / 2, w / 2, c]: means of 2x2 windows; h and w are even."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
