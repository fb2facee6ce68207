"""Variational autoencoders with one group of latents (VAE; arXiv:1312.6114).

A model with Gaussian latents, `VAE`, `jaxdl.models.dense_ladder_vae.DenseLadderVAE` or
`jaxdl.models.hierarchical_vae.LadderVAE`, has

- `latent_shapes`, the shape of each group of latents of one example;
- `encode(image, label, *, train) -> encoded`, the posterior or the features that determine it;
- `decode(encoded, noise, label, *, train) -> Decoded`, outputs for latents drawn from the posterior;
- `generate(latents, label, *, train) -> output`, outputs for latents given as standard normal noise under the prior;
- `classes`, the number of classes of `label` int32 [batch]; 0 if the model is unconditional and `label` is None.

Noise is an argument, standard normal [batch, *shape] per group, because tasks draw it per example.
Logical axis names are those of `jaxdl.models.resnet`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.convolution import constrain, convolution, shuffle
from jaxdl.models.layers.dense import Activation, dense
from jaxdl.models.layers.norms import Normalization, group_norm
from jaxdl.models.resnet import BasicBlock, Stage
from jaxdl.models.unet import TransposedConv


class Normal(NamedTuple):
    """Independent normal distributions, one per value.

    Attributes:
      mean: [batch, ...].
      log_variance: [batch, ...].
    """

    mean: jax.Array
    log_variance: jax.Array

    def at(self, noise: jax.Array) -> jax.Array:
        """Returns the value of standard normal `noise` (reparametrization trick, arXiv:1312.6114)."""
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise

    def whitened(self, value: jax.Array) -> jax.Array:
        """Returns the noise of a value, the inverse of `at`."""
        return (value - self.mean) * jnp.exp(-0.5 * self.log_variance)

    @staticmethod
    def standard(like: jax.Array) -> "Normal":
        """Returns standard normal distributions of the shape of `like`."""
        return Normal(jnp.zeros_like(like), jnp.zeros_like(like))


def kl_divergence(posterior: Normal, prior: Normal) -> jax.Array:
    """Returns KL(posterior || prior) of each value, nats (arXiv:1312.6114, appendix B)."""
    gap = posterior.log_variance - prior.log_variance
    shift = (posterior.mean - prior.mean) * jnp.exp(-0.5 * prior.log_variance)
    return 0.5 * (jnp.exp(gap) + jnp.square(shift) - 1.0 - gap)


class Latent(NamedTuple):
    """Group of latents drawn from its posterior.

    Attributes:
      value: [batch, ...], the draw.
      white: [batch, ...], the draw as noise under the prior.
      kl: [batch, ...], KL divergence in nats, in closed form.
      log_ratio: [batch], log posterior - log prior of the draw, nats.
      shift: [batch, ...], the posterior mean as noise under the prior.
    """

    value: jax.Array
    white: jax.Array
    kl: jax.Array
    log_ratio: jax.Array
    shift: jax.Array


def draw_latent(posterior: Normal, prior: Normal, noise: jax.Array) -> Latent:
    """Draws from `posterior` with standard normal `noise` [batch, ...]."""
    value = posterior.at(noise)
    white = prior.whitened(value)
    # The constants of the two densities cancel.
    ratio = jnp.square(white) + prior.log_variance - jnp.square(noise) - posterior.log_variance
    log_ratio = 0.5 * jnp.sum(ratio, axis=tuple(range(1, ratio.ndim)))
    return Latent(value, white, kl_divergence(posterior, prior), log_ratio, prior.whitened(posterior.mean))


class Decoded(NamedTuple):
    """Outputs of a model for one draw of the latents.

    Attributes:
      output: float32 [batch, h, w, outputs], parameters of the likelihood of each pixel.
      groups: Groups of latents, in the order of `latent_shapes`.
    """

    output: jax.Array
    groups: tuple[Latent, ...]


def halved(shape: Sequence[int], times: int) -> tuple[int, int]:
    """Returns (height, width) halved `times` times.

    Raises:
      ValueError: A side that is not divisible.
    """
    factor = 2**times
    if shape[0] % factor or shape[1] % factor:
        raise ValueError(f"images of {tuple(shape)}: {times} levels halve both sides, which {factor} must divide")
    return shape[0] // factor, shape[1] // factor


class DenseEncoder(nn.Module):
    """Dense encoder, [batch, h, w, c] -> [batch, widths[-1]].

    Attributes:
      widths: Widths of the layers.
      activation: Activation after each layer.
    """

    widths: Sequence[int] = (500,)
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        x = image.reshape(image.shape[0], -1)
        for index, width in enumerate(self.widths):
            x = self.activation(dense(width, name=f"dense{index + 1}")(x))
        return x


class DenseDecoder(nn.Module):
    """Dense decoder, [batch, latents] -> [batch, height, width, outputs].

    Attributes:
      widths: Widths of the hidden layers.
      shape: (height, width).
      outputs: Number of outputs per pixel.
      activation: Activation after each hidden layer.
    """

    widths: Sequence[int] = (500,)
    shape: tuple[int, int] = (28, 28)
    outputs: int = 1
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, latents: jax.Array, *, train: bool) -> jax.Array:
        x = latents
        for index, width in enumerate(self.widths):
            x = self.activation(dense(width, name=f"dense{index + 1}")(x))
        x = dense(math.prod(self.shape) * self.outputs, name="final")(x)
        return x.reshape(-1, *self.shape, self.outputs)


def residual_stage(
    blocks: int, width: int, norm: Normalization, activation: Activation, dtype: Any, name: str | None = None
) -> Stage:
    """Returns residual blocks at one resolution, [batch, h, w, c] -> [batch, h, w, width]."""
    block = functools.partial(BasicBlock, norm=norm, activation=activation, dtype=dtype)
    return Stage(block, width, stride=1, stochastic_depth=(0.0,) * blocks, name=name)


class ConvEncoder(nn.Module):
    """Convolutional encoder with residual blocks, [batch, h, w, c] -> [batch, features].

    Attributes:
      channels: Channels of each level. Every level halves height and width.
      blocks: Number of residual blocks per level.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization and each residual sum.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    channels: Sequence[int] = (32, 64)
    blocks: int = 1
    norm: Normalization = group_norm
    activation: Activation = nn.silu
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        x = image
        for level, channels in enumerate(self.channels, start=1):
            axis = "channels_in" if level > 1 else None
            x = convolution(channels, 3, 2, dtype=self.dtype, name=f"down{level}", input_axis=axis)(x)
            x = self.activation(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{level}")(x))
            options = (self.norm, self.activation, self.dtype)
            x = residual_stage(self.blocks, channels, *options, name=f"stage{level}")(constrain(x), train=train)
        return x.astype(jnp.float32).reshape(x.shape[0], -1)


class ConvDecoder(nn.Module):
    """Convolutional decoder that mirrors `ConvEncoder`, -> [batch, height, width, outputs].

    The last upsampling rearranges channels into 2x2 pixels, so that no convolution runs at full resolution.

    Attributes:
      channels: Channels of each level, finest first.
      shape: (height, width) of the image, multiples of 2**len(channels).
      outputs: Number of outputs per pixel.
      blocks: Number of residual blocks per level.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization and each residual sum.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    channels: Sequence[int] = (32, 64)
    shape: tuple[int, int] = (28, 28)
    outputs: int = 1
    blocks: int = 1
    norm: Normalization = group_norm
    activation: Activation = nn.silu
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, latents: jax.Array, *, train: bool) -> jax.Array:
        levels = len(self.channels)
        height, width = halved(self.shape, levels)
        x = dense(height * width * self.channels[-1], name="entry")(latents)
        x = x.reshape(-1, height, width, self.channels[-1])
        for level in range(levels, 0, -1):
            channels = self.channels[level - 1]
            if level < levels:
                x = TransposedConv(channels, self.dtype, name=f"up{level}")(x)
            x = self.activation(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{level}")(x))
            options = (self.norm, self.activation, self.dtype)
            x = residual_stage(self.blocks, channels, *options, name=f"stage{level}")(constrain(x), train=train)
        x = dense(4 * self.outputs, ("embed", "classes"), name="final")(x.astype(jnp.float32))
        return shuffle(x, 2)


class VAE(nn.Module):
    """Variational autoencoder with a standard normal prior and a diagonal normal posterior.

    With `classes` it is conditional (CVAE; Sohn et al. 2015, NeurIPS): the label is a learned plane of the encoder's
    input and a one-hot part of the decoder's input.

    Attributes:
      encoder: `(image [batch, h, w, c], *, train) -> [batch, features]`.
      decoder: `(latents [batch, n], *, train) -> [batch, h, w, outputs]`.
      latents: Number of latents.
      classes: Number of classes. 0: unconditional.
    """

    encoder: Any
    decoder: Any
    latents: int = 20
    classes: int = 0

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """((latents,),)."""
        return ((self.latents,),)

    def setup(self):
        self.posterior = dense(2 * self.latents, ("embed", None))
        if self.classes:
            self.plane = LabelPlane(self.classes)

    def encode(self, image: jax.Array, label: jax.Array | None = None, *, train: bool) -> Normal:
        """Returns the posterior [batch, latents] of images with label int32 [batch]."""
        if self.classes:
            image = self.plane(image, label)
        features = self.encoder(image, train=train)
        return Normal(*jnp.split(self.posterior(features), 2, axis=-1))

    def decode(
        self, encoded: Normal, noise: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
    ) -> Decoded:
        """Returns outputs and latents for noise ([batch, latents],)."""
        latent = draw_latent(encoded, Normal.standard(encoded.mean), noise[0])
        return Decoded(self.generate((latent.value,), label, train=train), (latent,))

    def generate(self, latents: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] for latents ([batch, latents],)."""
        value = latents[0]
        if self.classes:
            value = jnp.concatenate([value, one_hot(label, self.classes)], axis=-1)
        return self.decoder(value, train=train).astype(jnp.float32)

    def __call__(
        self, image: jax.Array, noise: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
    ) -> Decoded:
        """Returns `decode(encode(image))`."""
        return self.decode(self.encode(image, label, train=train), noise, label, train=train)


class LabelPlane(nn.Module):
    """Appends a learned channel per class to images [batch, h, w, c]; label int32 [batch]."""

    classes: int

    @nn.compact
    def __call__(self, image: jax.Array, label: jax.Array | None) -> jax.Array:
        height, width = image.shape[1:3]
        plane = dense(height * width, ("embed", None), name="plane")(one_hot(label, self.classes))
        return jnp.concatenate([image, plane.reshape(-1, height, width, 1)], axis=-1)


def one_hot(label: jax.Array | None, classes: int) -> jax.Array:
    """Returns one-hot labels float32 [batch, classes] of int32 [batch].

    Raises:
      ValueError: No label.
    """
    if label is None:
        raise ValueError(f"the model is conditional on a label of {classes} classes; the batch needs 'label'")
    return jax.nn.one_hot(label, classes)
