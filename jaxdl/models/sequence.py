"""Recurrent language model, sequence classifier or regressor, and forecaster."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import Embedding, dense
from jaxdl.models.layers.recurrence import Array, State
from jaxdl.models.layers.token_embedding import UNKNOWN
from jaxdl.models.rnn import LSTM, Cell, Stack, initial_state

POOLS = ("last", "mean", "max")


class LanguageModel(nn.Module):
    """Recurrent language model.

    Attributes:
      vocabulary: Number of tokens.
      features: Width of every recurrent layer.
      embedding: Width of the token embeddings.
      layers: Number of recurrent layers.
      cell: Class of the recurrent layers.
      dropout: Dropout rate on the embeddings, between layers and before the head.
      tied: Logits use the token embeddings, after a projection to their width.
      ngrams: Longest n-gram with an embedding: those of the last 2 to `ngrams` tokens are added to a token's, `ngram2`,
        ... (Bojanowski et al., "Enriching Word Vectors with Subword Information", arXiv:1607.04606).
      buckets: Number of embeddings of the n-grams of each length, which are hashed.
    """

    vocabulary: int
    features: int
    embedding: int
    layers: int = 1
    cell: type[Cell] = LSTM
    dropout: float = 0.0
    tied: bool = False
    ngrams: int = 1
    buckets: int = 2**15

    def setup(self):
        self.embed = Embedding(self.vocabulary, self.embedding, self.embedding**-0.5)
        self.hashed = [
            Embedding(self.buckets, self.embedding, self.embedding**-0.5, name=f"ngram{size}")
            for size in range(2, self.ngrams + 1)
        ]
        self.stack = Stack(self.features, self.layers, self.cell, dropout=self.dropout)
        self.drop = nn.Dropout(self.dropout)
        if self.tied:
            self.project = dense(self.embedding, ("mlp", "embed"))
        else:
            self.head = dense(self.vocabulary, ("embed", "vocab"))

    @nn.nowrap
    def initial_carry(self, batch: int) -> "Carry":
        """Returns the carry before the first token."""
        previous = jnp.zeros((batch, self.ngrams - 1), jnp.int32) if self.ngrams > 1 else None
        return Carry(initial_state(self.cell, self.features, self.layers, batch), previous)

    def __call__(self, tokens: Array, *, carry: "Carry | None" = None, train: bool) -> tuple[Array, "Carry"]:
        """Returns next-token logits float32 [batch, time, vocabulary] and the new carry.

        Args:
          tokens: int32 [batch, time].
          carry: Carry of the previous call. None: `initial_carry`.
          train: Whether dropout is active. It draws from the key "dropout".
        """
        carry = self.initial_carry(tokens.shape[0]) if carry is None else carry
        text = tokens if carry.previous is None else jnp.concatenate([carry.previous, tokens], axis=1)
        x = self.embed(tokens)
        for size, embed in enumerate(self.hashed, start=2):
            x = x + embed(hashed_ngrams(text, size, self.buckets)[:, -tokens.shape[1] :])
        x, states = self.stack(self.drop(x, deterministic=not train), state=carry.states, train=train)
        x = self.drop(x, deterministic=not train)
        logits = self.embed.attend(self.project(x)) if self.tied else self.head(x)
        return logits, Carry(states, None if carry.previous is None else text[:, tokens.shape[1] :])


class Carry(NamedTuple):
    """State of a `LanguageModel` between two calls.

    Attributes:
      states: State of each layer, leaves [batch, features].
      previous: Last tokens, int32 [batch, ngrams - 1], 0 before the first one. None without n-grams.
    """

    states: tuple[State, ...]
    previous: Array | None


def hashed_ngrams(tokens: Array, size: int, buckets: int) -> Array:
    """Returns the hash, 0 to buckets - 1, of the `size` tokens that end at each position from `size - 1` on.

    Tokens are int32 [batch, time], hashes int32 [batch, time - size + 1].
    """
    count = tokens.shape[1] - size + 1
    value = jnp.zeros((tokens.shape[0], count), jnp.uint32)
    for offset in range(size):  # multiplicative hash (Knuth, "The Art of Computer Programming", volume 3, 6.4)
        value = (value + tokens[:, offset : offset + count].astype(jnp.uint32)) * jnp.uint32(2654435761)
    return ((value >> 8) % buckets).astype(jnp.int32)


class ManyToOne(nn.Module):
    """Recurrent network with pooling, for sequence classification and regression.

    Attributes:
      outputs: Number of outputs.
      features: Width of every recurrent layer.
      vocabulary: Number of tokens. None: inputs are vectors.
      embedding: Width of the token embeddings.
      layers: Number of recurrent layers.
      cell: Class of the recurrent layers.
      bidirectional: Layers run in both directions.
      pool: Poolings of the outputs, concatenated: "last" (the final forward state), "mean" and "max" over steps.
      dropout: Dropout rate on the embeddings, between layers and on the pooled features.
      word_dropout: Share of the tokens that is replaced by <unknown> in training (Iyyer et al. 2015).
    """

    outputs: int
    features: int
    vocabulary: int | None = None
    embedding: int = 64
    layers: int = 1
    cell: type[Cell] = LSTM
    bidirectional: bool = False
    pool: tuple[str, ...] = ("last",)
    dropout: float = 0.0
    word_dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, length: Array | None = None, train: bool) -> Array:
        """Returns [batch, outputs]; draws from "dropout" in training.

        Args:
          x: int32 [batch, time] or float [batch, time, channels].
          length: int32 [batch], the number of valid steps. None: all.
          train: Whether dropout is active.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if self.vocabulary is not None:
            if train and self.word_dropout:
                dropped = jax.random.bernoulli(self.make_rng("dropout"), self.word_dropout, x.shape)
                x = jnp.where(dropped, UNKNOWN, x)
            x = drop(Embedding(self.vocabulary, self.embedding, self.embedding**-0.5, name="embed")(x))
        stack = Stack(self.features, self.layers, self.cell, self.bidirectional, self.dropout, name="stack")
        outputs, state = stack(x, length=length, train=train)
        pooled = jnp.concatenate([pooling(pool, outputs, state, length) for pool in self.pool], axis=-1)
        return dense(self.outputs, ("embed", None), name="head")(drop(pooled))


def pooling(pool: str, outputs: Array, state: tuple[State, ...], length: Array | None) -> Array:
    """Pools outputs [batch, time, features], 0 on padding, to [batch, features]."""
    if pool not in POOLS:
        raise ValueError(f"pool={pool!r} must be one of {', '.join(POOLS)}")
    if pool == "last":
        return state[-1][0]
    steps = outputs.shape[1]
    length = jnp.full(outputs.shape[:1], steps) if length is None else length
    if pool == "mean":
        return outputs.sum(1) / jnp.maximum(length, 1)[:, None]
    valid = jnp.arange(steps)[None] < length[:, None]
    return jnp.where(valid[..., None], outputs, -1e9).max(1)


class Forecaster(nn.Module):
    """Recurrent encoder-decoder forecaster with known future covariates.

    As in DeepAR (Salinas et al. 2017, arXiv:1704.04110), but not autoregressive: the decoder reads covariates only.

    Attributes:
      features: Width of every recurrent layer.
      outputs: Outputs per step: 1, or one per quantile.
      layers: Number of layers of the encoder and of the decoder.
      cell: Class of the recurrent layers.
      dropout: Dropout rate between layers and before the head.
      linear: Number of last values with a linear autoregressive path, which extrapolates to levels outside the training
        data (LSTNet, Lai et al. 2017, arXiv:1703.07015). 0 for none.
    """

    features: int
    outputs: int = 1
    layers: int = 1
    cell: type[Cell] = LSTM
    dropout: float = 0.0
    linear: int = 0

    @nn.compact
    def __call__(self, history: Array, future: Array, *, train: bool) -> Array:
        """Returns [batch, horizon, outputs]; draws from "dropout" in training.

        Args:
          history: [batch, context, channels].
          future: [batch, horizon, known], known covariates.
          train: Whether dropout is active.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        _, state = Stack(self.features, self.layers, self.cell, dropout=self.dropout, name="encoder")(
            history, train=train
        )
        if future.shape[-1] == 0:  # without covariates the decoder needs an input of some width
            future = jnp.ones((*future.shape[:2], 1), history.dtype)
        decoder = Stack(self.features, self.layers, self.cell, dropout=self.dropout, name="decoder")
        outputs, _ = decoder(future, state=state, train=train)
        outputs = jnp.concatenate([drop(outputs), future], axis=-1)
        outputs = dense(self.outputs, ("embed", None), name="head")(outputs)
        if self.linear:
            values, horizon = history[:, -self.linear :, 0], future.shape[1]
            direct = dense(horizon, ("embed", None), kernel_init=nn.initializers.zeros, name="linear")(values)
            outputs += direct[..., None]
        return outputs
