"""Bidirectional encoders (BERT) and their task heads."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.attention import Array
from jaxdl.models.layers.dense import dense, gathered
from jaxdl.models.layers.norms import normalization
from jaxdl.models.layers.token_embedding import UNKNOWN, padding_mask, position_ids
from jaxdl.models.transformer import Stack, exact_gelu, tokens_of


class Encoder(nn.Module):
    """Bidirectional Transformer encoder (BERT with the arguments of `bert`).

    Attributes:
      vocabulary: Number of tokens.
      length: Maximum length with learned positions.
      stack: Blocks, with `causal=False`.
      types, cases: Number of token types and of letter cases (see `Tokens`).
      embedding_norm: Layer normalization of the embeddings.
      word_dropout: Share of the tokens that is replaced by <unknown> in training.
    """

    vocabulary: int
    length: int
    stack: Stack
    types: int = 0
    cases: int = 0
    embedding_norm: bool = False
    word_dropout: float = 0.0

    def setup(self):
        options = {"types": self.types, "cases": self.cases, "norm": self.embedding_norm}
        self.embed = tokens_of(self.vocabulary, self.length, self.stack, **options)

    def __call__(
        self,
        tokens: Array,
        *,
        length: Array | None = None,
        segments: Array | None = None,
        types: Array | None = None,
        cases: Array | None = None,
        train: bool,
    ) -> Array:
        """Returns contextual embeddings, float32 [batch, time, features].

        Args:
          tokens: int32 [batch, time].
          length: int32 [batch], the number of valid tokens. None: all.
          segments: int32 [batch, time], the number of a token's packed sequence. 0 is padding.
          types: int32 [batch, time], token types. None: all 0.
          cases: int32 [batch, time], letter cases. None: all 0.
          train: Whether dropout is active.
        """
        positions = mask = None
        if segments is not None:
            positions = position_ids(segments)
        elif length is not None:
            mask = padding_mask(tokens, length)[:, None, None]
        if train and self.word_dropout:
            dropped = jax.random.bernoulli(self.make_rng("dropout"), self.word_dropout, tokens.shape)
            tokens = jnp.where(dropped, UNKNOWN, tokens)
        x = self.embed(tokens, positions, types, cases, train=train)
        return self.stack(x, positions=positions, mask=mask, segments=segments, train=train)[0]

    def attend(self, x: Array) -> Array:
        """Returns logits [..., vocabulary] of x [..., features] with tied embeddings."""
        return self.embed.attend(x)


class SequenceClassifier(nn.Module):
    """Encoder with a sequence classification head.

    Attributes:
      encoder: Encoder of the tokens.
      outputs: Number of outputs.
      pool: "cls", the first token after a dense layer and tanh (BERT's pooler), or "mean" over tokens.
      dropout: Dropout rate on the pooled embedding.
    """

    encoder: Encoder
    outputs: int
    pool: str = "cls"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Array, *, length: Array | None = None, train: bool) -> Array:
        """Returns [batch, outputs] of tokens int32 [batch, time] with length int32 [batch]."""
        x = self.encoder(tokens, length=length, train=train)
        if self.pool == "cls":
            x = jnp.tanh(dense(x.shape[-1], name="pooler")(x[:, 0]))
        elif self.pool == "mean":
            valid = jnp.ones(tokens.shape, bool) if length is None else padding_mask(tokens, length)
            x = jnp.where(valid[..., None], x, 0).sum(1) / jnp.maximum(valid.sum(1), 1)[:, None]
        else:
            raise ValueError(f"SequenceClassifier: pool={self.pool!r} must be 'cls' or 'mean'")
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.outputs, ("embed", None), name="head")(x)


class TokenClassifier(nn.Module):
    """Encoder with a token classification head, for tagging and extractive question answering.

    Attributes:
      encoder: Encoder of the tokens.
      outputs: Number of outputs per token.
      dropout: Dropout rate on the embeddings.
    """

    encoder: Encoder
    outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        tokens: Array,
        *,
        length: Array | None = None,
        segments: Array | None = None,
        types: Array | None = None,
        cases: Array | None = None,
        train: bool,
    ) -> Array:
        """Returns outputs per token, [batch, time, outputs]; for the arguments see `Encoder`."""
        x = self.encoder(tokens, length=length, segments=segments, types=types, cases=cases, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.outputs, ("embed", None), name="head")(x)


class MaskedLanguageModel(nn.Module):
    """Encoder with a masked language modelling head and tied embeddings.

    Attributes:
      encoder: Encoder of the tokens.
    """

    encoder: Encoder

    def setup(self):
        stack = self.encoder.stack
        self.transform = dense(stack.features)
        self.norm = normalization("layer", stack.epsilon, True, jnp.float32)
        self.bias = self.param(
            "bias", nn.with_logical_partitioning(nn.initializers.zeros, ("vocab",)), (self.encoder.vocabulary,)
        )

    def __call__(
        self,
        tokens: Array,
        *,
        length: Array | None = None,
        segments: Array | None = None,
        places: Array | None = None,
        train: bool,
    ) -> Array:
        """Returns logits float32 [batch, n, vocabulary].

        Args:
          tokens: int32 [batch, time].
          length: See `Encoder`.
          segments: See `Encoder`.
          places: int32 [batch, n], the positions whose logits are computed. None: all.
          train: Whether dropout is active.
        """
        x = self.encoder(tokens, length=length, segments=segments, train=train)
        if places is not None:
            x = jnp.take_along_axis(x, places[..., None], axis=1)
        x = self.norm(exact_gelu(self.transform(x)))
        return self.encoder.attend(x) + gathered(self.bias)


def bert(vocabulary: int = 30_522, length: int = 512, cases: int = 0, **changes: Any) -> Encoder:
    """Returns BERT base without the pooler, 109 million parameters (arXiv:1810.04805).

    Args:
      vocabulary: Number of tokens.
      length: Maximum length.
      cases: Number of letter cases (see `Tokens`).
      changes: Arguments of `Stack`.
    """
    defaults = {
        "features": 768,
        "layers": 12,
        "heads": 12,
        "positions": "learned",
        "order": "post",
        "activation": exact_gelu,
        "epsilon": 1e-12,
    }
    return Encoder(vocabulary, length, Stack(**{**defaults, **changes}), types=2, cases=cases, embedding_norm=True)
