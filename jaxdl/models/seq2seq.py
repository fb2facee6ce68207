"""Recurrent encoder-decoders with attention, from sequences or images to tokens."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import Embedding, dense, gathered, normal
from jaxdl.models.layers.recurrence import Array, State
from jaxdl.models.rnn import LSTM, Cell, Stack

Memory = dict[str, Array]  # values [batch, places, features], keys [batch, places, size], mask bool [batch, places]


class TokenEncoder(nn.Module):
    """Recurrent token encoder, -> values [batch, time, features] and mask [batch, time].

    Attributes:
      vocabulary: Number of tokens.
      features: Width of every recurrent layer, in one direction.
      embedding: Width of the token embeddings.
      layers: Number of recurrent layers.
      cell: Class of the recurrent layers.
      bidirectional: Layers run in both directions.
      dropout: Dropout rate on the embeddings and between layers.
    """

    vocabulary: int
    features: int
    embedding: int
    layers: int = 1
    cell: type[Cell] = LSTM
    bidirectional: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, inputs: Array, *, length: Array | None = None, train: bool) -> tuple[Array, Array]:
        x = Embedding(self.vocabulary, self.embedding, self.embedding**-0.5, name="embed")(inputs)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        stack = Stack(self.features, self.layers, self.cell, self.bidirectional, self.dropout, name="stack")
        values, _ = stack(x, length=length, train=train)
        length = jnp.full(inputs.shape[:1], inputs.shape[1]) if length is None else length
        return values, jnp.arange(inputs.shape[1])[None] < length[:, None]


class ImageEncoder(nn.Module):
    """Image encoder, -> values [batch, h * w, features] and mask [batch, h * w].

    Attributes:
      backbone: Network with `features(image, *, train) -> [batch, h, w, channels]`, such as `ConvNet`.
      features: Width of the values.
    """

    backbone: Any
    features: int

    @nn.compact
    def __call__(self, inputs: Array, *, length: Array | None = None, train: bool) -> tuple[Array, Array]:
        del length  # images are not padded
        maps = self.backbone.features(inputs, train=train)
        batch, height, width, channels = maps.shape
        init = nn.with_logical_partitioning(normal(0.02), (None, "embed"))
        positions = gathered(self.param("place", init, (height * width, channels)))
        values = dense(self.features, name="project")(maps.reshape(batch, height * width, channels) + positions)
        return values, jnp.ones((batch, height * width), bool)


class Attention(nn.Module):
    """Single-head attention to a memory.

    Attributes:
      size: Width of queries and keys.
      score: "dot", scaled (Luong et al. 2015, arXiv:1508.04025), or "additive" (Bahdanau et al. 2014,
        arXiv:1409.0473).
    """

    size: int
    score: str

    def setup(self):
        if self.score not in ("dot", "additive"):
            raise ValueError(f"attention={self.score!r} must be 'dot' or 'additive'")
        self.query = dense(self.size, use_bias=False)
        self.key = dense(self.size, use_bias=self.score == "additive")
        if self.score == "additive":
            init = nn.with_logical_partitioning(normal(self.size**-0.5), ("mlp",))
            self.direction = self.param("direction", init, (self.size,))

    def keys(self, values: Array) -> Array:
        """Returns keys [batch, places, size] of values [batch, places, features], once per memory."""
        return self.key(values)

    def __call__(self, queries: Array, memory: Memory) -> tuple[Array, Array]:
        """Returns context [batch, time, value features] and weights [batch, time, places].

        Args:
          queries: [batch, time, features].
          memory: See `Memory`.
        """
        queries, keys = self.query(queries), memory["keys"]
        if self.score == "dot":
            scores = jnp.einsum("btd,bpd->btp", queries, keys) * self.size**-0.5
        else:
            direction = gathered(self.direction)
            scores = jnp.tanh(queries[:, :, None] + keys[:, None]) @ direction
        weights = jax.nn.softmax(jnp.where(memory["mask"][:, None], scores, -1e9), axis=-1)
        return jnp.einsum("btp,bpf->btf", weights, memory["values"]), weights


class AttentionDecoder(nn.Module):
    """Recurrent decoder with attention.

    The outputs of the first recurrent layer are the attention's queries; outputs and context are the inputs of the
    other layers. So in training attention is two matrix products over all steps (Wu et al. 2016, arXiv:1609.08144).

    Attributes:
      vocabulary: Number of tokens.
      features: Width of every recurrent layer.
      embedding: Width of the token embeddings, which the logits use, too.
      layers: Number of recurrent layers.
      attention: "dot" or "additive" (see `Attention`).
      cell: Class of the recurrent layers.
      dropout: Dropout rate on the embeddings, between layers and before the logits.
    """

    vocabulary: int
    features: int
    embedding: int
    layers: int = 2
    attention: str = "dot"
    cell: type[Cell] = LSTM
    dropout: float = 0.0

    def setup(self):
        self.embed = Embedding(self.vocabulary, self.embedding, self.embedding**-0.5)
        self.reader = Stack(self.features, 1, self.cell)
        self.attend = Attention(self.features, self.attention)
        if self.layers > 1:
            self.writer = Stack(self.features, self.layers - 1, self.cell, dropout=self.dropout)
        self.bridge = [dense(self.features) for _ in range(self.layers)]
        self.readout = dense(self.embedding)
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("vocab",))
        self.bias = self.param("bias", init, (self.vocabulary,))
        self.drop = nn.Dropout(self.dropout)

    def project_memory(self, values: Array, mask: Array) -> Memory:
        """Returns the memory of an encoder's values and mask."""
        return {"values": values, "keys": self.attend.keys(values), "mask": mask}

    def start(self, memory: Memory) -> tuple[State, ...]:
        """Returns the initial state, a function of the memory's mean, first and last values.

        In a bidirectional encoder the first and last values depend on the whole sequence.
        """
        mask = memory["mask"][..., None]
        values = jnp.where(mask, memory["values"], 0)
        count = jnp.maximum(mask.sum(1), 1)
        last = jnp.take_along_axis(values, count[..., None] - 1, axis=1)[:, 0]
        summary = jnp.concatenate([values[:, 0], last, values.sum(1) / count], axis=-1)
        states = []
        for layer in self.bridge:
            first = jnp.tanh(layer(summary))
            states.append((first, *(jnp.zeros_like(first) for _ in range(self.cell.states() - 1))))
        return tuple(states)

    def __call__(
        self, memory: Memory, carry: tuple[State, ...], tokens: Array, *, train: bool
    ) -> tuple[Array, tuple[State, ...]]:
        """Returns next-token logits float32 [batch, time, vocabulary] and the carry."""
        x = self.drop(self.embed(tokens), deterministic=not train)
        x, first = self.reader(x, state=carry[:1], train=train)
        context, _ = self.attend(x, memory)
        x = self.drop(jnp.concatenate([x, context], axis=-1), deterministic=not train)
        if self.layers > 1:
            x, others = self.writer(x, state=carry[1:], train=train)
            carry = (*first, *others)
            x = jnp.concatenate([self.drop(x, deterministic=not train), context], axis=-1)
        else:
            carry = first
        x = self.drop(jnp.tanh(self.readout(x)), deterministic=not train)
        return self.embed.attend(x) + gathered(self.bias), carry


class EncoderDecoder(nn.Module):
    """Encoder and recurrent decoder with attention to the encoder's outputs.

    Attributes:
      encoder: `(inputs, *, length, train) -> (values [batch, places, features], mask [batch, places])`.
      decoder: Decoder.
    """

    encoder: Any
    decoder: AttentionDecoder

    def __call__(self, inputs: Array, target: Array, *, length: Array | None = None, train: bool) -> Array:
        """Returns next-token logits [batch, time, vocabulary] (teacher forcing).

        Args:
          inputs: Inputs of the encoder.
          target: int32 [batch, time], target tokens, shifted right.
          length: int32 [batch], the number of valid steps of the inputs. None: all.
          train: Whether dropout is active.
        """
        memory = self.encode(inputs, length=length, train=train)
        return self.decoder(memory, self.decoder.start(memory), target, train=train)[0]

    def encode(self, inputs: Array, *, length: Array | None = None, train: bool = False) -> Memory:
        """Returns the decoder's memory; every leaf [batch, ...]."""
        return self.decoder.project_memory(*self.encoder(inputs, length=length, train=train))

    def start(self, memory: Memory) -> tuple[State, ...]:
        """Returns the decoder's carry before the first token; every leaf [batch, ...]."""
        return self.decoder.start(memory)

    def decode(self, memory: Memory, carry: tuple[State, ...], token: Array) -> tuple[Array, tuple[State, ...]]:
        """Returns logits [batch, vocabulary] after token int32 [batch], and the new carry."""
        logits, carry = self.decoder(memory, carry, token[:, None], train=False)
        return logits[:, 0], carry
