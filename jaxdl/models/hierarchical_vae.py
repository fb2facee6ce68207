"""Hierarchical VAE (ladder VAE, Sønderby et al. 2016, arXiv:1602.02282).

A bottom-up path computes features of the image; generation and inference share a top-down path. Its state determines
the prior of each group of latents, and with the features of equal resolution a residual posterior relative to that
prior (NVAE, Vahdat & Kautz 2020, arXiv:2007.03898). Methods and logical axis names are those of `jaxdl.models.vae`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.convolution import constrain, convolution, shuffle
from jaxdl.models.layers.dense import Activation, dense
from jaxdl.models.layers.norms import Normalization, group_norm
from jaxdl.models.unet import TransposedConv
from jaxdl.models.vae import (
    Decoded,
    LabelPlane,
    Normal,
    draw_latent,
    halved,
    one_hot,
    residual_stage,
)

_LIMIT = 5.0  # largest change of a log variance from prior to posterior


class LatentGroup(nn.Module):
    """Group of latents [batch, h, w, latents] on the top-down path [batch, h, w, width].

    Initially the prior is standard normal and the posterior equals the prior, so that the KL divergence is 0.

    Attributes:
      latents: Channels of the latents.
      width: Channels of the path.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation function.
      dtype: Computation dtype of convolutions.
    """

    latents: int
    width: int
    norm: Normalization
    activation: Activation
    dtype: Any

    def setup(self):
        zero = nn.initializers.zeros
        self.prior_head = dense(2 * self.latents, ("embed", None), kernel_init=zero)
        self.posterior_path = dense(self.width, ("embed", None))
        self.posterior_norm = NormAct(self.norm, self.activation, self.dtype)
        self.posterior_head = dense(2 * self.latents, ("embed", None), kernel_init=zero)
        self.merge = dense(self.width, ("embed", "channels"))

    def prior(self, path: jax.Array) -> Normal:
        """Returns the prior of the latents given the path."""
        return Normal(*jnp.split(self.prior_head(path.astype(jnp.float32)), 2, axis=-1))

    def posterior(self, path: jax.Array, features: jax.Array, *, train: bool) -> Normal:
        """Returns the posterior given the path and the image's features [batch, h, w, width].

        It is computed for each sample of an importance-weighted bound, the features only once.
        """
        prior = self.prior(path)
        x = features + self.posterior_path(path).astype(features.dtype)
        x = self.posterior_norm(x, train=train).astype(jnp.float32)
        shift, change = jnp.split(self.posterior_head(x), 2, axis=-1)
        mean = prior.mean + jnp.exp(0.5 * prior.log_variance) * shift
        return Normal(mean, prior.log_variance + _LIMIT * jnp.tanh(change / _LIMIT))

    def onward(self, path: jax.Array, value: jax.Array) -> jax.Array:
        """Adds the latents to the path."""
        return constrain(path + self.merge(value).astype(path.dtype))


class NormAct(nn.Module):
    """Normalization and activation."""

    norm: Normalization
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.activation(self.norm(train=train, dtype=jnp.dtype(self.dtype), name="norm")(x))


def down_levels(channels: Sequence[int], blocks: int, *options: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Returns a convolution of stride 2, a `NormAct` and residual blocks for each level, finest first.

    `options` are normalization, activation and dtype. Call it in a module's `setup`.
    """
    axes = (None, *["channels_in"] * len(channels))
    downs = [
        convolution(width, 3, 2, dtype=options[-1], name=f"down{level}", input_axis=axis)
        for level, (width, axis) in enumerate(zip(channels, axes), start=1)
    ]
    return downs, *_norms_and_stages(channels, blocks, options, "down_norm", "up")


def up_levels(channels: Sequence[int], blocks: int, *options: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Returns a `NormAct`, residual blocks and, but for the coarsest, upsampling to each level; see `down_levels`."""
    doubles = [
        TransposedConv(width, options[-1], name=f"double{level}") for level, width in enumerate(channels[:-1], start=1)
    ]
    return *_norms_and_stages(channels, blocks, options, "norm", "stage"), doubles


def _norms_and_stages(
    channels: Sequence[int], blocks: int, options: tuple[Any, ...], norm: str, stage: str
) -> tuple[list[Any], list[Any]]:
    levels = list(enumerate(channels, start=1))
    norms = [NormAct(*options, name=f"{norm}{level}") for level, _ in levels]
    return norms, [residual_stage(blocks, width, *options, name=f"{stage}{level}") for level, width in levels]


class LadderVAE(nn.Module):
    """Ladder VAE with a latent vector and maps of latents, coarsest first.

    Attributes:
      channels: Channels of each level, finest first. Every level halves height and width.
      latents: Channels of each level's latents, finest first. 0: none.
      top: Width of the latent vector, with a standard normal prior.
      shape: (height, width) of the image, multiples of 2**len(channels).
      outputs: Number of outputs per pixel.
      classes: Number of classes. 0: unconditional.
      blocks: Number of residual blocks per level, in both paths.
      fine: Channels at the resolution of the image, before a last 3x3 convolution. 0: pixels of a 2x2 block are outputs
        of the finest level without one, which shows as a pattern of dots.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization and each residual sum.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    channels: Sequence[int] = (32, 64)
    latents: Sequence[int] = (2, 4)
    top: int = 20
    shape: tuple[int, int] = (28, 28)
    outputs: int = 1
    classes: int = 0
    blocks: int = 1
    fine: int = 0
    norm: Normalization = group_norm
    activation: Activation = nn.silu
    dtype: Any = "float32"

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """((top,), (h, w, latents) of each level with latents, coarsest first)."""
        maps = [(*halved(self.shape, level), self.latents[level - 1]) for level in self._levels() if self._has(level)]
        return ((self.top,), *maps)

    def _levels(self) -> list[int]:
        """Returns the levels, coarsest first; level n is 2**n times smaller than the image."""
        return list(range(len(self.channels), 0, -1))

    def _has(self, level: int) -> bool:
        return self.latents[level - 1] > 0

    def setup(self):
        if len(self.latents) != len(self.channels):
            raise ValueError(f"LadderVAE: latents={self.latents} must have one value per level, {len(self.channels)}")
        options = (self.norm, self.activation, self.dtype)
        levels = range(1, len(self.channels) + 1)
        self.downs, self.down_norms, self.up_stages = down_levels(self.channels, self.blocks, *options)
        self.top_head = dense(2 * self.top, ("embed", None))
        height, width = halved(self.shape, len(levels))
        self.entry = dense(height * width * self.channels[-1])
        self.groups = {
            level: LatentGroup(self.latents[level - 1], self.channels[level - 1], *options, name=f"group{level}")
            for level in levels
            if self._has(level)
        }
        self.norms, self.stages, self.doubles = up_levels(self.channels, self.blocks, *options)
        self.final = dense(4 * (self.fine or self.outputs), ("embed", "classes"))
        if self.fine:
            self.last = convolution(
                self.outputs, 3, dtype="float32", name="last", input_axis=None, output_axis=None, use_bias=True
            )
        if self.classes:
            self.plane = LabelPlane(self.classes)

    def encode(self, image: jax.Array, label: jax.Array | None = None, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns features of each level, finest first."""
        x = self.plane(image, label) if self.classes else image
        features = []
        for down, norm, stage in zip(self.downs, self.down_norms, self.up_stages):
            x = stage(constrain(norm(down(x), train=train)), train=train)
            features.append(x)
        return tuple(features)

    def decode(
        self, encoded: Sequence[jax.Array], noise: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
    ) -> Decoded:
        """Returns outputs and latents for standard normal noise [batch, *shape] per group."""
        coarsest = encoded[-1].astype(jnp.float32)
        top = Normal(*jnp.split(self.top_head(coarsest.reshape(coarsest.shape[0], -1)), 2, axis=-1))
        groups = [draw_latent(top, Normal.standard(top.mean), noise[0])]

        def draw(level: int, path: jax.Array) -> jax.Array:
            group = self.groups[level]
            posterior = group.posterior(path, encoded[level - 1], train=train)
            groups.append(draw_latent(posterior, group.prior(path), noise[len(groups)]))
            return groups[-1].value

        return Decoded(self._down(groups[0].value, draw, label, train), tuple(groups))

    def generate(self, latents: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] for standard normal latents per group."""
        maps = iter(latents[1:])

        def draw(level: int, path: jax.Array) -> jax.Array:
            return self.groups[level].prior(path).at(next(maps))

        return self._down(latents[0], draw, label, train)

    def _down(self, top: jax.Array, draw: Any, label: jax.Array | None, train: bool) -> jax.Array:
        """Runs the top-down path; `draw(level, path)` returns a level's latents."""
        if self.classes:
            top = jnp.concatenate([top, one_hot(label, self.classes)], axis=-1)
        height, width = halved(self.shape, len(self.channels))
        path = self.entry(top).reshape(-1, height, width, self.channels[-1])
        for level in self._levels():
            path = path if level == len(self.channels) else self.doubles[level - 1](path)
            path = self.norms[level - 1](path, train=train)
            if self._has(level):
                path = self.groups[level].onward(path, draw(level, path))
            path = self.stages[level - 1](constrain(path), train=train)
        output = shuffle(self.final(path.astype(jnp.float32)), 2)
        return self.last(self.activation(output)) if self.fine else output

    def __call__(
        self, image: jax.Array, noise: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
    ) -> Decoded:
        """Returns `decode(encode(image))`."""
        return self.decode(self.encode(image, label, train=train), noise, label, train=train)
