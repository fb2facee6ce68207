"""Vector-quantized VAE (VQ-VAE; van den Oord et al. 2017, arXiv:1711.00937).

The codebook is a moving average of the encoder's vectors (appendix A.1 of the paper) in the collection "codebook", not
a parameter. Logical axis names are those of `jaxdl.models.resnet`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.hierarchical_vae import down_levels, up_levels
from jaxdl.models.layers.convolution import constrain, shuffle
from jaxdl.models.layers.dense import Activation, dense, normal
from jaxdl.models.layers.norms import Normalization, bound_axis, group_norm


class Codebook(NamedTuple):
    """State of a codebook.

    Statistics of a step are applied at the start of the next step, so that all micro-batches of a step use equal codes
    and their sums add up to those of the whole batch.

    Attributes:
      counts: [codes], moving average of the number of vectors per code.
      sums: [codes, features], moving average of the sum of vectors per code. A code is sums / counts.
      new_counts: [codes], counts of the current step.
      new_sums: [codes, features], sums of the current step.
      step: int32 [], the current step.
    """

    counts: jax.Array
    sums: jax.Array
    new_counts: jax.Array
    new_sums: jax.Array
    step: jax.Array

    @property
    def codes(self) -> jax.Array:
        """Vectors of the codes, [codes, features]."""
        return self.sums / self.counts[:, None]


def updated(book: Codebook, decay: float) -> Codebook:
    """Returns the codebook after adding its pending statistics to the moving averages."""
    pending = jnp.sum(book.new_counts) > 0

    def blend(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(pending, decay * old + (1.0 - decay) * new, old)

    # Unused codes keep their vector: both averages decay equally, and counts are bounded from below for the division.
    counts, sums = blend(book.counts, book.new_counts), blend(book.sums, book.new_sums)
    fade = jnp.maximum(counts, 1e-4) / counts
    counts, sums = counts * fade, sums * fade[:, None]
    return Codebook(counts, sums, jnp.zeros_like(counts), jnp.zeros_like(sums), book.step)


def split_largest(book: Codebook, least: float | jax.Array, spread: float = 0.01) -> Codebook:
    """Moves each code with fewer than `least` vectors next to one of the most used codes.

    Splitting of Linde, Buzo & Gray (1980). It is deterministic and independent of the batch, so micro-batches and
    devices agree.

    Args:
      book: Codebook.
      least: Threshold of the moving average of counts. 0 never splits.
      spread: Distance of the two codes, in units of the codes' std.
    """
    half = len(book.counts) // 2
    order = jnp.argsort(book.counts)
    small, large = order[:half], order[::-1][:half]
    split = book.counts[small] < jnp.minimum(least, 0.25 * book.counts[large])
    codes, counts = book.codes, book.counts
    step = spread * jnp.std(codes, axis=0) * jnp.where(jnp.arange(codes.shape[1]) % 2 == 0, 1.0, -1.0)
    shared = jnp.where(split, 0.5 * counts[large], counts[large])
    counts = counts.at[large].set(shared).at[small].set(jnp.where(split, shared, counts[small]))
    codes = codes.at[small].set(jnp.where(split[:, None], codes[large] + step, codes[small]))
    return book._replace(counts=counts, sums=codes * counts[:, None])


class Quantized(NamedTuple):
    """Quantized vectors.

    Attributes:
      value: [batch, h, w, features], the nearest codes, with a straight-through gradient.
      index: int32 [batch, h, w], indices of the codes.
      commitment: [batch], commitment loss: squared distance between vectors and codes, summed over positions.
    """

    value: jax.Array
    index: jax.Array
    commitment: jax.Array


def nearest(vectors: jax.Array, codes: jax.Array) -> jax.Array:
    """Returns the index int32 [...] of the nearest code of vectors [..., features]."""
    distance = jnp.sum(jnp.square(codes), axis=-1) - 2.0 * vectors @ codes.T
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


class Quantizer(nn.Module):
    """Vector quantizer.

    Attributes:
      codes: Number of codes.
      features: Width of the vectors.
      decay: Decay of the moving averages.
      least: Usage below which a code is moved (see `split_largest`), as a share of uniform usage.
    """

    codes: int
    features: int
    decay: float = 0.99
    least: float = 0.03

    @nn.compact
    def __call__(self, vectors: jax.Array, weight: jax.Array, step: jax.Array, *, train: bool) -> Quantized:
        """Quantizes vectors [batch, h, w, features]; weight [batch] (0 on padding), step int32 []."""
        shape = (self.codes, self.features)
        init = {
            "counts": lambda: jnp.ones(shape[:1]),
            "sums": lambda: normal(1.0)(self.make_rng("params"), shape),
            "new_counts": lambda: jnp.zeros(shape[:1]),
            "new_sums": lambda: jnp.zeros(shape),
            "step": lambda: jnp.int32(0),
        }
        state = {name: self.variable("codebook", name, initial) for name, initial in init.items()}
        book = self._current(Codebook(**{name: variable.value for name, variable in state.items()}), step, train)
        codes = jax.lax.stop_gradient(book.codes)
        index = nearest(jax.lax.stop_gradient(vectors), codes)
        if train:
            book = self._add(book, jax.lax.stop_gradient(vectors), index, weight)
            for name, value in book._asdict().items():
                state[name].value = value
        quantized = codes[index]
        value = vectors + jax.lax.stop_gradient(quantized - vectors)
        return Quantized(value, index, jnp.sum(jnp.square(vectors - quantized), axis=(1, 2, 3)))

    def _current(self, book: Codebook, step: jax.Array, train: bool) -> Codebook:
        """Returns the codebook of `step`, after applying the previous step's statistics once."""
        fresh = updated(book, self.decay)
        if self.least:
            fresh = split_largest(fresh, self.least * jnp.mean(fresh.counts))
        if not train:
            return fresh
        due = book.step != step
        fresh = fresh._replace(step=jnp.asarray(step, jnp.int32))
        return jax.tree.map(lambda new, old: jnp.where(due, new, old), fresh, book)

    def _add(self, book: Codebook, vectors: jax.Array, index: jax.Array, weight: jax.Array) -> Codebook:
        """Adds the statistics of a batch, a micro-batch or a device's shard."""
        assigned = jax.nn.one_hot(index, self.codes) * weight[:, None, None, None]
        counts, sums = assigned.sum((0, 1, 2)), jnp.einsum("bhwk,bhwf->kf", assigned, vectors)
        if (axis := bound_axis()) is not None:
            counts, sums = jax.lax.psum((counts, sums), axis)
        return book._replace(new_counts=book.new_counts + counts, new_sums=book.new_sums + sums)


class VQVAE(nn.Module):
    """Convolutional VQ-VAE.

    Attributes:
      channels: Channels of each level, finest first. Every level halves height and width, which 2**levels must divide.
      codes: Number of codes.
      features: Width of the codes.
      decay: Decay of the codebook's moving averages.
      least: See `Quantizer`.
      outputs: Number of outputs per pixel.
      blocks: Number of residual blocks per level.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation after each normalization and each residual sum.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    channels: Sequence[int] = (32, 64)
    codes: int = 256
    features: int = 16
    decay: float = 0.99
    least: float = 0.03
    outputs: int = 1
    blocks: int = 1
    norm: Normalization = group_norm
    activation: Activation = nn.silu
    dtype: Any = "float32"

    def setup(self):
        options = (self.norm, self.activation, self.dtype)
        self.downs, self.down_norms, self.up_stages = down_levels(self.channels, self.blocks, *options)
        self.code = dense(self.features, ("embed", None))
        self.quantizer = Quantizer(self.codes, self.features, self.decay, self.least)
        self.entry = dense(self.channels[-1], (None, "channels"))
        self.norms, self.stages, self.doubles = up_levels(self.channels, self.blocks, *options)
        self.final = dense(4 * self.outputs, ("embed", "classes"))

    def encode(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns vectors float32 [batch, h', w', features] of images [batch, h, w, c]."""
        x = image
        for down, norm, stage in zip(self.downs, self.down_norms, self.up_stages):
            x = stage(constrain(norm(down(x), train=train)), train=train)
        return self.code(x.astype(jnp.float32))

    def decode(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """Returns float32 [batch, h, w, outputs] of codes [batch, h', w', features]."""
        x = self.entry(codes)
        for level in range(len(self.channels), 0, -1):
            x = x if level == len(self.channels) else self.doubles[level - 1](x)
            x = self.norms[level - 1](x, train=train)
            x = self.stages[level - 1](constrain(x), train=train)
        return shuffle(self.final(x.astype(jnp.float32)), 2)

    def __call__(
        self, image: jax.Array, weight: jax.Array, step: jax.Array, *, train: bool
    ) -> tuple[jax.Array, Quantized]:
        """Returns outputs [batch, h, w, outputs] and codes; for weight and step see `Quantizer`."""
        quantized = self.quantizer(self.encode(image, train=train), weight, step, train=train)
        return self.decode(quantized.value, train=train), quantized
