"""Encoders, which make of each token a vector that knows the tokens around it, and what stands on them: BERT."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.attention import Array
from jaxdl.models.layers.dense import dense, gathered
from jaxdl.models.transformer import UNKNOWN, Stack, exact_gelu, normalization, position_ids, there, tokens_of


class Encoder(nn.Module):
    """A vector for each token, made of all tokens around it: BERT, by its arguments.

    Attributes:
      vocabulary, length: see `Tokens`.
      stack: its blocks, with `causal=False`.
      types, embedding_norm: see `types` and `norm` of `Tokens`.
      word_dropout: share of the tokens that are replaced by <unknown> in training.
    """

    vocabulary: int
    length: int
    stack: Stack
    types: int = 0
    embedding_norm: bool = False
    word_dropout: float = 0.0

    def setup(self):
        self.embed = tokens_of(self.vocabulary, self.length, self.stack, types=self.types, norm=self.embedding_norm)

    def __call__(
        self,
        tokens: Array,
        *,
        length: Array | None = None,
        segments: Array | None = None,
        types: Array | None = None,
        train: bool,
    ) -> Array:
        """
        Args:
          tokens: int32 [batch, time].
          length: int32 [batch], how many of a row's tokens there are; None: all.
          segments: as of `Decoder`; 0 is no sequence.
          types: int32 [batch, time], see `Tokens`.

        Returns:
          float32 [batch, time, features].
        """
        positions = mask = None
        if segments is not None:
            positions = position_ids(segments)
        elif length is not None:
            mask = there(tokens, length)[:, None, None]
        if train and self.word_dropout:
            drawn = jax.random.bernoulli(self.make_rng("dropout"), self.word_dropout, tokens.shape)
            tokens = jnp.where(drawn, UNKNOWN, tokens)
        x = self.embed(tokens, positions, types, train=train)
        return self.stack(x, positions=positions, mask=mask, segments=segments, train=train)[0]

    def attend(self, x: Array) -> Array:
        """[..., features] -> logits [..., vocabulary] with the tokens' own vectors."""
        return self.embed.attend(x)


class SequenceClassifier(nn.Module):
    """One vector of outputs for a whole sequence of tokens.

    Attributes:
      encoder: what reads the tokens.
      outputs: how many.
      pool: "cls", the vector of the first token after a dense layer and tanh (BERT's pooler), or "mean" over tokens.
      dropout: rate on what is pooled.
    """

    encoder: Encoder
    outputs: int
    pool: str = "cls"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Array, *, length: Array | None = None, train: bool) -> Array:
        """tokens int32 [batch, time], length int32 [batch] -> [batch, outputs]."""
        x = self.encoder(tokens, length=length, train=train)
        if self.pool == "cls":
            x = jnp.tanh(dense(x.shape[-1], name="pooler")(x[:, 0]))
        elif self.pool == "mean":
            seen = jnp.ones(tokens.shape, bool) if length is None else there(tokens, length)
            x = jnp.where(seen[..., None], x, 0).sum(1) / jnp.maximum(seen.sum(1), 1)[:, None]
        else:
            raise ValueError(f"SequenceClassifier: pool={self.pool!r}; 'cls' or 'mean'")
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.outputs, ("embed", None), name="head")(x)


class TokenClassifier(nn.Module):
    """A vector of outputs for each token: its class, or whether a span begins or ends there.

    Attributes:
      encoder: what reads the tokens.
      outputs: how many.
      dropout: rate on the tokens' vectors.
    """

    encoder: Encoder
    outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Array, *, length: Array | None = None, types: Array | None = None, train: bool) -> Array:
        """tokens int32 [batch, time], length int32 [batch], types int32 [batch, time] -> [batch, time, outputs]."""
        x = self.encoder(tokens, length=length, types=types, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return dense(self.outputs, ("embed", None), name="head")(x)


class MaskedLanguageModel(nn.Module):
    """Says which tokens stand where some were hidden; logits compare with the tokens' own vectors.

    Attributes:
      encoder: what reads the tokens.
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
        """
        Args:
          tokens, length, segments: see `Encoder`.
          places: int32 [batch, n], the tokens of which logits are asked; None: all.

        Returns:
          logits float32 [batch, n, vocabulary].
        """
        x = self.encoder(tokens, length=length, segments=segments, train=train)
        if places is not None:
            x = jnp.take_along_axis(x, places[..., None], axis=1)
        x = self.norm(exact_gelu(self.transform(x)))
        return self.encoder.attend(x) + gathered(self.bias)


def bert(vocabulary: int = 30_522, length: int = 512, **changes: Any) -> Encoder:
    """BERT (Devlin et al. 2018, arXiv:1810.04805), by default with the 109 million parameters of its base size, less
    the pooler's; changes are of its `Stack`."""
    chosen = {
        "features": 768,
        "layers": 12,
        "heads": 12,
        "positions": "learned",
        "order": "post",
        "activation": exact_gelu,
        "epsilon": 1e-12,
    }
    return Encoder(vocabulary, length, Stack(**{**chosen, **changes}), types=2, embedding_norm=True)
