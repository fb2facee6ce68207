"""Networks from sequences to one output, to an output a step, and to the steps that follow."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import Embedding, dense
from jaxdl.models.layers.recurrence import Array, State
from jaxdl.models.rnn import LSTM, Cell, Stack, initial_state

POOLS = ("last", "mean", "max")


class LanguageModel(nn.Module):
    """Says what follows each token, from that token and those before it.

    Attributes:
      vocabulary: number of tokens.
      features: of every recurrent layer.
      embedding: size of a token's vector.
      layers: how many.
      cell: the recurrent layers' class.
      dropout: rate on the vectors, between the layers, and on the last one's outputs.
      tied: the last outputs, brought to the size of a vector, are compared with the tokens' own vectors.
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
        """The state before the first token: every leaf [batch, features]."""
        return initial_state(self.cell, self.features, self.layers, batch)

    def __call__(
        self, tokens: Array, *, carry: tuple[State, ...] | None = None, train: bool
    ) -> tuple[Array, tuple[State, ...]]:
        """
        Args:
          tokens: int32 [batch, time].
          carry: what the call before returned; None: nothing came before.
          train: whether dropout draws, from the key "dropout".

        Returns:
          logits float32 [batch, time, vocabulary], and the carry after the last token.
        """
        x = self.drop(self.embed(tokens), deterministic=not train)
        x, carry = self.stack(x, state=carry, train=train)
        x = self.drop(x, deterministic=not train)
        return (self.embed.attend(self.project(x)) if self.tied else self.head(x)), carry


class ManyToOne(nn.Module):
    """One vector of outputs for a whole sequence.

    Attributes:
      outputs: how many.
      features: of every recurrent layer.
      vocabulary: number of tokens, where the sequence is of tokens; None: it is of vectors.
      embedding: size of a token's vector.
      layers, cell, bidirectional: see `jaxdl.models.rnn.Stack`.
      pool: what of the last layer's outputs is put side by side: "last" (the state after the last step, of the forward
        direction), "mean" and "max" over the steps.
      dropout: rate on the input vectors, between the layers, and on what is pooled.
      word_dropout: share of the tokens that are replaced by <unknown> in training (Iyyer et al. 2015).
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
        """x int32 [batch, time] or float [batch, time, channels], length int32 [batch] -> [batch, outputs].

        Draws from "dropout" in training.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if self.vocabulary is not None:
            if train and self.word_dropout:
                hidden = jax.random.bernoulli(self.make_rng("dropout"), self.word_dropout, x.shape)
                x = jnp.where(hidden, 3, x)
            x = drop(Embedding(self.vocabulary, self.embedding, self.embedding**-0.5, name="embed")(x))
        stack = Stack(self.features, self.layers, self.cell, self.bidirectional, self.dropout, name="stack")
        outputs, state = stack(x, length=length, train=train)
        pooled = jnp.concatenate([pooling(pool, outputs, state, length) for pool in self.pool], axis=-1)
        return dense(self.outputs, ("embed", None), name="head")(drop(pooled))


def pooling(pool: str, outputs: Array, state: tuple[State, ...], length: Array | None) -> Array:
    """One of POOLS: outputs [batch, time, features], 0 behind `length` [batch] -> [batch, features]."""
    if pool not in POOLS:
        raise ValueError(f"pool {pool!r}: one of {', '.join(POOLS)}")
    if pool == "last":
        return state[-1][0]
    steps = outputs.shape[1]
    length = jnp.full(outputs.shape[:1], steps) if length is None else length
    if pool == "mean":
        return outputs.sum(1) / jnp.maximum(length, 1)[:, None]
    valid = jnp.arange(steps)[None] < length[:, None]
    return jnp.where(valid[..., None], outputs, -1e9).max(1)


class Forecaster(nn.Module):
    """What follows a history, given what is known of the times to come: an encoder and a decoder, both recurrent.

    As in DeepAR (Salinas et al. 2017, arXiv:1704.04110), but the decoder is not fed with its own forecasts: all steps
    come at once.

    Attributes:
      features: of every recurrent layer.
      outputs: numbers a step: 1, or a quantile each.
      layers: of the encoder, and of the decoder.
      cell: the recurrent layers' class.
      dropout: rate between layers and before the head.
      linear: to the forecast is added a linear map of this many last values of the history, which follows a level that
        was never seen (LSTNet, Lai et al. 2017, arXiv:1703.07015); 0: nothing is.
    """

    features: int
    outputs: int = 1
    layers: int = 1
    cell: type[Cell] = LSTM
    dropout: float = 0.0
    linear: int = 0

    @nn.compact
    def __call__(self, history: Array, future: Array, *, train: bool) -> Array:
        """history [batch, context, channels], future [batch, horizon, known] -> [batch, horizon, outputs].

        Draws from "dropout" in training.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        _, state = Stack(self.features, self.layers, self.cell, dropout=self.dropout, name="encoder")(
            history, train=train
        )
        if future.shape[-1] == 0:  # nothing is known: the decoder counts the steps
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
