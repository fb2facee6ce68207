"""Recurrent language model, sequence classifier or regressor, and forecaster."""

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
    """

    vocabulary: int
    features: int
    embedding: int
    layers: int = 1
    cell: type[Cell] = LSTM
    dropout: float = 0.0
    tied: bool = False

    def setup(self):
        self.embed = Embedding(self.vocabulary, self.embedding, self.embedding**-0.5)
        self.stack = Stack(self.features, self.layers, self.cell, dropout=self.dropout)
        self.drop = nn.Dropout(self.dropout)
        if self.tied:
            self.project = dense(self.embedding, ("mlp", "embed"))
        else:
            self.head = dense(self.vocabulary, ("embed", "vocab"))

    @nn.nowrap
    def initial_carry(self, batch: int) -> tuple[State, ...]:
        """Returns the state before the first token; every leaf [batch, features]."""
        return initial_state(self.cell, self.features, self.layers, batch)

    def __call__(
        self, tokens: Array, *, carry: tuple[State, ...] | None = None, train: bool
    ) -> tuple[Array, tuple[State, ...]]:
        """Returns next-token logits float32 [batch, time, vocabulary] and the new carry.

        Args:
          tokens: int32 [batch, time].
          carry: Carry of the previous call. None: zeros.
          train: Whether dropout is active. It draws from the key "dropout".
        """
        x = self.drop(self.embed(tokens), deterministic=not train)
        x, carry = self.stack(x, state=carry, train=train)
        x = self.drop(x, deterministic=not train)
        return (self.embed.attend(self.project(x)) if self.tied else self.head(x)), carry


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
