"""Encoder and attending decoder: from a sequence, or an image, to a sequence of tokens."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import Embedding, dense, gathered, normal
from jaxdl.models.layers.recurrence import Array, State
from jaxdl.models.rnn import LSTM, Cell, Stack

Memory = dict[str, Array]  # values [batch, places, features], keys [batch, places, size], mask bool [batch, places]


class TokenEncoder(nn.Module):
    """Tokens int32 [batch, time], length [batch] -> values [batch, time, features], mask bool [batch, time].

    Attributes: see `jaxdl.models.rnn.Stack`; `features` are those of one direction.
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
    """Images float [batch, height, width, channels] -> a value for every cell of a network's last feature map.

    Attributes:
      backbone: a network with `features(image, *, train) -> [batch, h, w, channels]`, such as `ConvNet`.
      features: size of the values.
    """

    backbone: Any
    features: int

    @nn.compact
    def __call__(self, inputs: Array, *, length: Array | None = None, train: bool) -> tuple[Array, Array]:
        del length  # an image has no padding
        maps = self.backbone.features(inputs, train=train)
        batch, height, width, channels = maps.shape
        init = nn.with_logical_partitioning(normal(0.02), (None, "embed"))
        place = gathered(self.param("place", init, (height * width, channels)))
        values = dense(self.features, name="project")(maps.reshape(batch, height * width, channels) + place)
        return values, jnp.ones((batch, height * width), bool)


class Attention(nn.Module):
    """What of a memory a query asks for.

    Attributes:
      size: of queries and keys.
      score: "dot", scaled (Luong et al. 2015, arXiv:1508.04025), or "additive" (Bahdanau et al. 2014,
        arXiv:1409.0473).
    """

    size: int
    score: str

    def setup(self):
        if self.score not in ("dot", "additive"):
            raise ValueError(f"attention {self.score!r}: 'dot' or 'additive'")
        self.query = dense(self.size, use_bias=False)
        self.key = dense(self.size, use_bias=self.score == "additive")
        if self.score == "additive":
            init = nn.with_logical_partitioning(normal(self.size**-0.5), ("mlp",))
            self.direction = self.param("direction", init, (self.size,))

    def keys(self, values: Array) -> Array:
        """[batch, places, features] -> [batch, places, size]; computed once for a memory."""
        return self.key(values)

    def __call__(self, queries: Array, memory: Memory) -> tuple[Array, Array]:
        """queries [batch, time, features] -> context [batch, time, features of the values] and weights
        [batch, time, places]."""
        queries, keys = self.query(queries), memory["keys"]
        if self.score == "dot":
            scores = jnp.einsum("btd,bpd->btp", queries, keys) * self.size**-0.5
        else:
            direction = gathered(self.direction)
            scores = jnp.tanh(queries[:, :, None] + keys[:, None]) @ direction
        weights = jax.nn.softmax(jnp.where(memory["mask"][:, None], scores, -1e9), axis=-1)
        return jnp.einsum("btp,bpf->btf", weights, memory["values"]), weights


class AttentionDecoder(nn.Module):
    """Writes tokens while it looks at a memory.

    The first recurrent layer reads the tokens written so far; from its outputs attention asks the memory; what it gets
    goes, with them, into the further layers. So only recurrences run step by step in training, and attention is two
    matrix products over all steps (the order of Wu et al. 2016, arXiv:1609.08144).

    Attributes:
      vocabulary: number of tokens.
      features: of every recurrent layer.
      embedding: size of a token's vector; logits compare with the same vectors.
      layers: recurrent layers, the first one included.
      attention: "dot" or "additive".
      cell: the recurrent layers' class.
      dropout: rate on the vectors, between the layers, and before the logits.
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
        """The memory of an encoder's values [batch, places, features] and mask [batch, places]."""
        return {"values": values, "keys": self.attend.keys(values), "mask": mask}

    def start(self, memory: Memory) -> tuple[State, ...]:
        """The state before the first token, made of the memory's mean and of its first and its last value: the ends of
        a sequence are what recurrent layers in both directions have read all of it for."""
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
        """tokens int32 [batch, time] -> logits float32 [batch, time, vocabulary], and the carry after them."""
        x = self.drop(self.embed(tokens), deterministic=not train)
        x, read = self.reader(x, state=carry[:1], train=train)
        context, _ = self.attend(x, memory)
        x = self.drop(jnp.concatenate([x, context], axis=-1), deterministic=not train)
        if self.layers > 1:
            x, written = self.writer(x, state=carry[1:], train=train)
            carry = (*read, *written)
            x = jnp.concatenate([self.drop(x, deterministic=not train), context], axis=-1)
        else:
            carry = read
        x = self.drop(jnp.tanh(self.readout(x)), deterministic=not train)
        return self.embed.attend(x) + gathered(self.bias), carry


class EncoderDecoder(nn.Module):
    """An encoder and a decoder that attends to what the encoder made.

    Attributes:
      encoder: called as (inputs, *, length, train) -> values [batch, places, features], mask [batch, places].
      decoder: see `AttentionDecoder`.
    """

    encoder: Any
    decoder: AttentionDecoder

    def __call__(self, inputs: Array, target: Array, *, length: Array | None = None, train: bool) -> Array:
        """Logits [batch, time, vocabulary] for what follows each of `target` [batch, time], with teacher forcing.

        Args:
          inputs: what the encoder takes.
          length: int32 [batch] of the inputs, where they are padded.
        """
        memory = self.encode(inputs, length=length, train=train)
        return self.decoder(memory, self.decoder.start(memory), target, train=train)[0]

    def encode(self, inputs: Array, *, length: Array | None = None, train: bool = False) -> Memory:
        """What the decoder looks at; every leaf [batch, ...]."""
        return self.decoder.project_memory(*self.encoder(inputs, length=length, train=train))

    def start(self, memory: Memory) -> tuple[State, ...]:
        """The decoder's carry before the first token; every leaf [batch, ...]."""
        return self.decoder.start(memory)

    def decode(self, memory: Memory, carry: tuple[State, ...], token: Array) -> tuple[Array, tuple[State, ...]]:
        """One step: token int32 [batch] -> logits [batch, vocabulary] for the one that follows, and the carry."""
        logits, carry = self.decoder(memory, carry, token[:, None], train=False)
        return logits[:, 0], carry
