"""Ladder VAE of dense layers (Sønderby et al. 2016, arXiv:1602.02282). Its methods are those of `jaxdl.models.vae`."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import Activation, dense
from jaxdl.models.vae import Decoded, DenseDecoder, DenseEncoder, LabelPlane, Normal, draw_latent, one_hot

_LIMIT = 5.0  # largest change of a log variance from prior to posterior


class DenseLadderVAE(nn.Module):
    """Ladder VAE with vectors of latents, whose prior, but for that of the last, depends on the vectors above.

    The encoder computes features of each level, bottom up. From the top down, latents are drawn from a posterior that
    depends on the features and on the latents above, as a residual of their prior (arXiv:2007.03898).

    Attributes:
      widths: Widths of the dense layers between two levels.
      latents: Number of latents of each level, bottom first.
      shape: (height, width) of the image.
      outputs: Number of outputs per pixel.
      classes: Number of classes. 0: unconditional.
      activation: Activation after each layer.
    """

    widths: Sequence[int] = (500, 500)
    latents: Sequence[int] = (40, 20)
    shape: tuple[int, int] = (28, 28)
    outputs: int = 1
    classes: int = 0
    activation: Activation = nn.relu

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """((latents,) of each level, top first)."""
        return tuple((count,) for count in reversed(self.latents))

    def setup(self):
        below = range(1, len(self.latents))
        self.ups = [DenseEncoder(self.widths, self.activation, name=f"up{level}") for level in (*below, "_top")]
        self.downs = [DenseEncoder(self.widths, self.activation, name=f"down{level}") for level in below]
        self.top_head = dense(2 * self.latents[-1], ("embed", None))
        zero = nn.initializers.zeros
        heads = [(2 * count, ("embed", None)) for count in self.latents[:-1]]
        self.prior_heads = [dense(*head, kernel_init=zero, name=f"prior{n}") for n, head in enumerate(heads, 1)]
        self.merges = [dense(self.widths[-1], name=f"merge{level}") for level in below]
        self.posterior_heads = [dense(*head, kernel_init=zero, name=f"posterior{n}") for n, head in enumerate(heads, 1)]
        self.decoder = DenseDecoder(self.widths, self.shape, self.outputs, self.activation)
        if self.classes:
            self.plane = LabelPlane(self.classes)

    def encode(self, image: jax.Array, label: jax.Array | None = None, *, train: bool) -> tuple[jax.Array, ...]:
        """Returns features [batch, widths[-1]] of each level, bottom first."""
        x = self.plane(image, label) if self.classes else image
        features = []
        for up in self.ups:
            x = up(x, train=train)
            features.append(x)
        return tuple(features)

    def decode(
        self, encoded: Sequence[jax.Array], noise: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
    ) -> Decoded:
        """Returns outputs and latents for standard normal noise [batch, latents] of each level, top first."""
        top = Normal(*jnp.split(self.top_head(encoded[-1]), 2, axis=-1))
        groups = [draw_latent(top, Normal.standard(top.mean), noise[0])]

        def draw(level: int, path: jax.Array) -> jax.Array:
            prior = self._prior(level, path)
            x = self.activation(self.merges[level](jnp.concatenate([encoded[level], path], axis=-1)))
            shift, change = jnp.split(self.posterior_heads[level](x), 2, axis=-1)
            mean = prior.mean + jnp.exp(0.5 * prior.log_variance) * shift
            posterior = Normal(mean, prior.log_variance + _LIMIT * jnp.tanh(change / _LIMIT))
            groups.append(draw_latent(posterior, prior, noise[len(groups)]))
            return groups[-1].value

        return Decoded(self._down(groups[0].value, draw, label, train), tuple(groups))

    def generate(self, latents: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] for standard normal latents of each level, top first."""
        below = iter(latents[1:])
        return self._down(latents[0], lambda level, path: self._prior(level, path).at(next(below)), label, train)

    def _prior(self, level: int, path: jax.Array) -> Normal:
        return Normal(*jnp.split(self.prior_heads[level](path), 2, axis=-1))

    def _down(
        self,
        top: jax.Array,
        draw: Callable[[int, jax.Array], jax.Array],
        label: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """Runs the top-down path; `draw(level, path)` returns a level's latents."""
        value = jnp.concatenate([top, one_hot(label, self.classes)], axis=-1) if self.classes else top
        for level in range(len(self.latents) - 2, -1, -1):
            path = self.downs[level](value, train=train)
            value = jnp.concatenate([path, draw(level, path)], axis=-1)
        return self.decoder(value, train=train).astype(jnp.float32)

    def __call__(
        self, image: jax.Array, noise: Sequence[jax.Array], label: jax.Array | None = None, *, train: bool
    ) -> Decoded:
        """Returns `decode(encode(image))`."""
        return self.decode(self.encode(image, label, train=train), noise, label, train=train)
