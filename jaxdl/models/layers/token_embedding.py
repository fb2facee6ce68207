"""Token, position, type and letter-case embeddings; masks and positions of sequences."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.dense import Embedding
from jaxdl.models.layers.norms import normalization
from jaxdl.models.layers.posemb import waves

Array = jax.Array

UNKNOWN = 3  # id of <unknown>, as in jaxdl.data.text.special_tokens


class Tokens(nn.Module):
    """Token, position, type and letter-case embeddings, int32 [batch, n] -> float32 [batch, n, features].

    Attributes:
      vocabulary: Number of tokens.
      length: Maximum length with learned positions.
      features: Width of the embeddings.
      positions: "learned" and "sinusoidal" embeddings are added. Other values add none.
      types: Number of token types with an embedding (BERT). 0 for none.
      cases: Number of letter cases with an embedding, initially 0, for uncased vocabularies. 0 for none.
      norm: Layer normalization of the sum (BERT).
      epsilon: Epsilon of the normalization.
      dropout: Dropout rate.
      init_std: Std of the initial embeddings.
    """

    vocabulary: int
    length: int
    features: int
    positions: str = "none"
    types: int = 0
    cases: int = 0
    norm: bool = False
    epsilon: float = 1e-5
    dropout: float = 0.0
    init_std: float = 0.02

    def setup(self):
        self.word = Embedding(self.vocabulary, self.features, init_std=self.init_std)
        if self.positions == "learned":
            self.place = Embedding(self.length, self.features, init_std=self.init_std)
        if self.types:
            self.type = Embedding(self.types, self.features, init_std=self.init_std)
        if self.cases:
            self.case = Embedding(self.cases, self.features, init_std=0.0)  # a pretrained model is unchanged at first
        if self.norm:
            self.norm_out = normalization("layer", self.epsilon, True, jnp.float32)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        tokens: Array,
        positions: Array | None,
        types: Array | None = None,
        cases: Array | None = None,
        *,
        train: bool,
    ) -> Array:
        """Returns the embeddings.

        Args:
          tokens: int32 [batch, n].
          positions: int32 [batch, n]. None: 0, 1, ...
          types: int32 [batch, n]. None: all 0.
          cases: int32 [batch, n]. None: all 0.
          train: Whether dropout is active.

        Raises:
          ValueError: More tokens than learned positions.
        """
        positions = jnp.arange(tokens.shape[1])[None] if positions is None else positions
        x = self.word(tokens)
        if self.positions == "learned":
            if tokens.shape[1] > self.length:
                raise ValueError(f"{tokens.shape[1]} tokens exceed {self.length} learned positions; increase length")
            x = x + self.place(positions)
        elif self.positions == "sinusoidal":
            x = x + waves(positions, self.features)
        if self.types:
            x = x + self.type(jnp.zeros_like(tokens) if types is None else types)
        if self.cases:
            x = x + self.case(jnp.zeros_like(tokens) if cases is None else cases)
        return self.drop(self.norm_out(x) if self.norm else x, deterministic=not train)

    def attend(self, x: Array) -> Array:
        """Returns logits [..., vocabulary] with tied embeddings (arXiv:1608.05859)."""
        return self.word.attend(x)


def padding_mask(tokens: Array, length: Array) -> Array:
    """Returns which of tokens [batch, time] with `length` [batch] are valid, bool [batch, time]."""
    return jnp.arange(tokens.shape[1])[None] < length[:, None]


def position_ids(segments: Array) -> Array:
    """Returns positions that restart in each of the consecutive `segments`, int32 [batch, time]."""
    time = jnp.arange(segments.shape[1])[None]
    starts = jnp.concatenate([jnp.ones_like(segments[:, :1]), segments[:, 1:] != segments[:, :-1]], axis=1)
    return time - jax.lax.cummax(jnp.where(starts, time, 0), axis=1)
