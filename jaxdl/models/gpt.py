"""Decoder-only Transformer language models (GPT-2, Llama)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.layers.attention import Array, drawn_dense
from jaxdl.models.layers.dense import Embedding
from jaxdl.models.layers.token_embedding import position_ids
from jaxdl.models.transformer import Stack, tokens_of


class Decoder(nn.Module):
    """Decoder-only Transformer language model (see `gpt2` and `llama`).

    Attributes:
      vocabulary: Number of tokens.
      length: Capacity of the KV cache, and maximum length with learned positions.
      stack: Blocks, with `causal=True`.
      tied: Logits use the token embeddings (arXiv:1608.05859) instead of a dense layer.
      ngrams: Lengths of n-grams with an embedding, which is added to that of their last token (arXiv:2501.16975).
      slots: Number of hashed embeddings per n-gram length.
    """

    vocabulary: int
    length: int
    stack: Stack
    tied: bool = True
    ngrams: tuple[int, ...] = ()
    slots: int = 16_384

    @property
    def positions(self) -> int | None:
        """Maximum length. None: unlimited."""
        return self.length if self.stack.positions == "learned" else None

    @nn.nowrap
    def initial_carry(self, batch: int) -> dict[str, Any]:
        """Returns the carry before the first token: KV caches and numbers of tokens."""
        carry = {"caches": self.stack.empty_caches(batch, self.length), "count": jnp.zeros(batch, jnp.int32)}
        return {**carry, "recent": jnp.zeros((batch, max(self.ngrams) - 1), jnp.int32)} if self.ngrams else carry

    def setup(self):
        if not self.stack.causal:
            raise ValueError(
                "Decoder: the stack has causal=False, so tokens would attend to later ones; set causal=True"
            )
        self.embed = tokens_of(self.vocabulary, self.length, self.stack)
        if any(length < 2 for length in self.ngrams):
            raise ValueError(f"Decoder: ngrams={self.ngrams} must be lengths of 2 or more tokens")
        self.run = [Embedding(self.slots, self.stack.features) for _ in self.ngrams]
        if not self.tied:
            self.head = drawn_dense(self.vocabulary, ("embed", "vocab"), self.stack.init_std, use_bias=False)

    def __call__(
        self,
        tokens: Array,
        *,
        carry: dict[str, Any] | None = None,
        segments: Array | None = None,
        lengths: Array | None = None,
        whole: bool = True,
        train: bool,
    ) -> tuple[Array, dict[str, Any] | None]:
        """Returns next-token logits float32 [batch, time, vocabulary] and the new carry.

        Args:
          tokens: int32 [batch, time].
          carry: Carry of the previous call. None: no preceding tokens, and no new carry.
          segments: int32 [batch, time], the number of a token's packed sequence. Sequences do not attend to each other,
            and positions restart in each.
          lengths: int32 [batch], the number of valid tokens, with a carry. None: all.
          whole: False returns float32 [batch, time, features] for `logits`, whose output may need more memory than all
            other activations.
          train: Whether dropout is active. It draws from the key "dropout".

        Raises:
          ValueError: More tokens than learned positions, or segments with a carry.
        """
        if carry is not None and segments is not None:
            raise ValueError("Decoder: packed sequences do not support a carry; use one sequence per row")
        positions = caches = None
        if carry is not None:
            caches, number = carry["caches"], jnp.arange(tokens.shape[1])
            lengths = jnp.full(tokens.shape[0], tokens.shape[1]) if lengths is None else lengths
            positions = jnp.where(number < lengths[:, None], carry["count"][:, None] + number, -1)
        if segments is not None:
            positions = position_ids(segments)
        x = self.embed(tokens, positions, train=train)
        new_carry = {}
        if self.ngrams:
            recent = None if carry is None else carry["recent"]
            embeddings, recent = self._embed_ngrams(tokens, positions, recent, lengths)
            x, new_carry = x + embeddings, {"recent": recent}
        x, caches = self.stack(x, positions=positions, segments=segments, caches=caches, train=train)
        x = self.logits(x) if whole else x
        return x, None if carry is None else {"caches": caches, "count": carry["count"] + lengths, **new_carry}

    def _embed_ngrams(
        self, tokens: Array, positions: Array | None, recent: Array | None, lengths: Array | None
    ) -> tuple[Array, Array]:
        """Returns the sum of n-gram embeddings and the last tokens [batch, n - 1]."""
        reach, time = max(self.ngrams) - 1, tokens.shape[1]
        before = jnp.zeros((tokens.shape[0], reach), tokens.dtype) if recent is None else recent.astype(tokens.dtype)
        context = jnp.concatenate([before, tokens], axis=1).astype(jnp.uint32)
        place = jnp.arange(time)[None] if positions is None else positions
        total: Any = 0
        for length, table in zip(self.ngrams, self.run):
            code = context[:, reach:]
            for back in range(1, length):  # tokens before the start of the sequence hash as 0
                earlier = jnp.where(place >= back, context[:, reach - back : reach - back + time], 0)
                code = (code * jnp.uint32(0x9E3779B1)) ^ (earlier + jnp.uint32(0x7F4A7C15 + back))
            code = code ^ (code >> 15)
            total = total + table((code % jnp.uint32(self.slots)).astype(jnp.int32))
        lengths = jnp.full(tokens.shape[0], time) if lengths is None else lengths
        last = jnp.take_along_axis(context, lengths[:, None] + jnp.arange(reach), axis=1)
        return total, last.astype(jnp.int32)

    def logits(self, x: Array) -> Array:
        """Returns logits [..., vocabulary] of float32 x [..., features]."""
        return self.embed.attend(x) if self.tied else self.head(x)

    def read(self, tokens: Array, lengths: Array, carry: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """Returns logits float32 [batch, vocabulary] after prompts, and the carry (prefill).

        Args:
          tokens: int32 [batch, time].
          lengths: int32 [batch], the number of valid tokens, at least 1.
          carry: Carry before the prompts.
        """
        x, carry = self(tokens, carry=carry, lengths=lengths, whole=False, train=False)  # pyright: ignore
        return self.logits(x[jnp.arange(tokens.shape[0]), lengths - 1]), carry


def gpt2(vocabulary: int = 50_257, length: int = 1024, **changes: Any) -> Decoder:
    """Returns GPT-2, by default with 124 million parameters (Radford et al. 2019).

    `changes` are those of `Stack`.
    """
    sizes = {"features": 768, "layers": 12, "heads": 12}
    return Decoder(vocabulary, length, Stack(causal=True, positions="learned", **{**sizes, **changes}))


def llama(vocabulary: int = 32_000, length: int = 4096, tied: bool = False, **changes: Any) -> Decoder:
    """Returns Llama 2, by default with 7 billion parameters (arXiv:2307.09288).

    `changes` are those of `Stack`.
    """
    defaults = {
        "features": 4096,
        "layers": 32,
        "heads": 32,
        "hidden": 11_008,
        "norm": "rms",
        "activation": nn.silu,
        "gated": True,
        "use_bias": False,
    }
    return Decoder(vocabulary, length, Stack(causal=True, **{**defaults, **changes}), tied)
