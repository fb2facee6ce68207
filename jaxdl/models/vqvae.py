"""VQ-VAE: an autoencoder whose code is a map of entries of a codebook (van den Oord et al. 2017, arXiv:1711.00937).

The codebook is no parameter: it follows the encoder's vectors by a moving average (the paper's appendix A.1). Its state
lies in the collection "codebook", see `Codebook`. Logical axis names as in `jaxdl.models.resnet`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.hierarchical_vae import NormAct
from jaxdl.models.layers.convolution import constrain, convolution
from jaxdl.models.layers.dense import Activation, dense, normal
from jaxdl.models.layers.norms import Normalization, bound_axis, group_norm
from jaxdl.models.unet import TransposedConv
from jaxdl.models.vae import depth_to_space, residual_stage


class Codebook(NamedTuple):
    """The state of a codebook of `codes` vectors.

    What a step adds to the averages waits until the next step begins: so all micro-batches of a step see the same
    codes, and their sums add up to those of the whole batch.

    Attributes:
      counts: [codes] moving average of how many vectors a batch gives to a code.
      sums: [codes, features] moving average of their sum; a code is the ratio.
      new_counts, new_sums: of the step that is under way.
      step: int32 [] the step that is under way.
    """

    counts: jax.Array
    sums: jax.Array
    new_counts: jax.Array
    new_sums: jax.Array
    step: jax.Array

    @property
    def codes(self) -> jax.Array:
        """[codes, features]."""
        return self.sums / self.counts[:, None]


def updated(book: Codebook, decay: float) -> Codebook:
    """The codebook with what waits in it, if anything does: average = decay * average + (1 - decay) * new."""
    waits = jnp.sum(book.new_counts) > 0

    def blend(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(waits, decay * old + (1.0 - decay) * new, old)

    # A code that nobody uses keeps its vector: both its averages fade alike, down to a count that still divides.
    counts, sums = blend(book.counts, book.new_counts), blend(book.sums, book.new_sums)
    fade = jnp.maximum(counts, 1e-4) / counts
    counts, sums = counts * fade, sums * fade[:, None]
    return Codebook(counts, sums, jnp.zeros_like(counts), jnp.zeros_like(sums), book.step)


def split_largest(book: Codebook, least: float | jax.Array, spread: float = 0.01) -> Codebook:
    """Puts each code that fewer than `least` vectors of a batch use beside one of the most used, to share its vectors.

    The splitting of Linde, Buzo & Gray (1980). Nothing is drawn and no batch is looked at, so it is the same however a
    batch is cut.

    Args:
      least: of the moving average of counts; 0 never splits.
      spread: how far the two move apart, in the codes' standard deviation.
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
    """
    Attributes:
      value: [batch, h, w, features] the nearest codes; their gradient goes straight to the encoder's vectors.
      index: int32 [batch, h, w] which they are.
      commitment: [batch] squared distance of the vectors from their codes, the sum over places, which draws the vectors
        to them.
    """

    value: jax.Array
    index: jax.Array
    commitment: jax.Array


def nearest(vectors: jax.Array, codes: jax.Array) -> jax.Array:
    """int32 [...], for each of vectors [..., features] the nearest of codes [codes, features] by squared distance."""
    distance = jnp.sum(jnp.square(codes), axis=-1) - 2.0 * vectors @ codes.T
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


class Quantizer(nn.Module):
    """Replaces vectors by their nearest codes.

    Attributes:
      codes: how many.
      features: of a vector.
      decay: of the moving averages.
      least: see `split_largest`, as a share of what each code would get if all got as much.
    """

    codes: int
    features: int
    decay: float = 0.99
    least: float = 0.03

    @nn.compact
    def __call__(self, vectors: jax.Array, weight: jax.Array, step: jax.Array, *, train: bool) -> Quantized:
        """vectors [batch, h, w, features], weight [batch] (0 on padding), step int32 []."""
        shape = (self.codes, self.features)
        init = {
            "counts": lambda: jnp.ones(shape[:1]),
            "sums": lambda: normal(1.0)(self.make_rng("params"), shape),
            "new_counts": lambda: jnp.zeros(shape[:1]),
            "new_sums": lambda: jnp.zeros(shape),
            "step": lambda: jnp.int32(0),
        }
        kept = {name: self.variable("codebook", name, make) for name, make in init.items()}
        book = self._current(Codebook(**{name: one.value for name, one in kept.items()}), step, train)
        codes = jax.lax.stop_gradient(book.codes)
        index = nearest(jax.lax.stop_gradient(vectors), codes)
        if train:
            book = self._add(book, jax.lax.stop_gradient(vectors), index, weight)
            for name, value in book._asdict().items():
                kept[name].value = value
        chosen = codes[index]
        value = vectors + jax.lax.stop_gradient(chosen - vectors)
        return Quantized(value, index, jnp.sum(jnp.square(vectors - chosen), axis=(1, 2, 3)))

    def _current(self, book: Codebook, step: jax.Array, train: bool) -> Codebook:
        """The codebook that `step` uses: with what the step before has left, unless a part of this step has done so."""
        fresh = updated(book, self.decay)
        if self.least:
            fresh = split_largest(fresh, self.least * jnp.mean(fresh.counts))
        if not train:
            return fresh
        due = book.step != step
        fresh = fresh._replace(step=jnp.asarray(step, jnp.int32))
        return jax.tree.map(lambda new, old: jnp.where(due, new, old), fresh, book)

    def _add(self, book: Codebook, vectors: jax.Array, index: jax.Array, weight: jax.Array) -> Codebook:
        """Adds what a batch, or a micro-batch or a device's share of one, gives to each code."""
        given = jax.nn.one_hot(index, self.codes) * weight[:, None, None, None]
        counts, sums = given.sum((0, 1, 2)), jnp.einsum("bhwk,bhwf->kf", given, vectors)
        if (axis := bound_axis()) is not None:
            counts, sums = jax.lax.psum((counts, sums), axis)
        return book._replace(new_counts=book.new_counts + counts, new_sums=book.new_sums + sums)


class VQVAE(nn.Module):
    """A convolutional encoder, a `Quantizer` and a decoder.

    Attributes:
      channels: of each level, finest first; every level halves height and width, which 2**levels must divide.
      codes, features, decay, least: of the codebook.
      outputs: values a pixel.
      blocks: residual blocks a level.
      norm: factory with the signature of `jaxdl.models.layers.norms.batch_norm`.
      activation: after each norm and each sum.
      dtype: what convolutions compute in, "float32" or "bfloat16".
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
        levels = range(1, len(self.channels) + 1)
        self.downs = [
            convolution(
                width, 3, 2, dtype=self.dtype, name=f"down{level}", input_axis="channels_in" if level > 1 else None
            )
            for level, width in zip(levels, self.channels)
        ]
        self.down_norms = [NormAct(*options, name=f"down_norm{level}") for level in levels]
        self.up_stages = [
            residual_stage(self.blocks, width, *options, name=f"up{level}")
            for level, width in zip(levels, self.channels)
        ]
        self.code = dense(self.features, ("embed", None))
        self.quantizer = Quantizer(self.codes, self.features, self.decay, self.least)
        self.entry = dense(self.channels[-1], (None, "channels"))
        self.norms = [NormAct(*options, name=f"norm{level}") for level in levels]
        self.stages = [
            residual_stage(self.blocks, width, *options, name=f"stage{level}")
            for level, width in zip(levels, self.channels)
        ]
        self.doubles = [
            TransposedConv(width, self.dtype, name=f"double{level}") for level, width in zip(levels, self.channels[:-1])
        ]
        self.final = dense(4 * self.outputs, ("embed", "classes"))

    def encode(self, image: jax.Array, *, train: bool) -> jax.Array:
        """image float [batch, h, w, c] -> vectors float32 [batch, h', w', features]."""
        x = image
        for down, norm, stage in zip(self.downs, self.down_norms, self.up_stages):
            x = stage(constrain(norm(down(x), train=train)), train=train)
        return self.code(x.astype(jnp.float32))

    def decode(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """vectors of codes [batch, h', w', features] -> float32 [batch, h, w, outputs]."""
        x = self.entry(codes)
        for level in range(len(self.channels), 0, -1):
            x = x if level == len(self.channels) else self.doubles[level - 1](x)
            x = self.norms[level - 1](x, train=train)
            x = self.stages[level - 1](constrain(x), train=train)
        return depth_to_space(self.final(x.astype(jnp.float32)))

    def __call__(
        self, image: jax.Array, weight: jax.Array, step: jax.Array, *, train: bool
    ) -> tuple[jax.Array, Quantized]:
        """Outputs [batch, h, w, outputs] and codes; weight [batch], step int32 [] as in `Quantizer`."""
        quantized = self.quantizer(self.encode(image, train=train), weight, step, train=train)
        return self.decode(quantized.value, train=train), quantized
