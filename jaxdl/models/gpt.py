"""Decoders, which say what follows each token: GPT-2 and Llama, by their arguments."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.layers.attention import Array, drawn_dense
from jaxdl.models.layers.dense import Embedding
from jaxdl.models.transformer import Stack, position_ids, tokens_of


class Decoder(nn.Module):
    """Says what follows each token, from that token and those before it: GPT-2 and Llama, by their arguments.

    Attributes:
      vocabulary: number of tokens.
      length: how many tokens it looks back at when it writes, and with learned positions the most there can be.
      stack: its blocks, with `causal=True`.
      tied: logits compare with the tokens' own vectors (arXiv:1608.05859); else there is a dense layer.
      ngrams: lengths of the runs of tokens whose vectors are added to that of their last token (arXiv:2501.16975).
      slots: vectors for the runs of one length; runs of the same hash share one.
    """

    vocabulary: int
    length: int
    stack: Stack
    tied: bool = True
    ngrams: tuple[int, ...] = ()
    slots: int = 16_384

    @property
    def positions(self) -> int | None:
        """The most tokens there can be; None: any number."""
        return self.length if self.stack.positions == "learned" else None

    @nn.nowrap
    def initial_carry(self, batch: int) -> dict[str, Any]:
        """The state before the first token: caches, and how many tokens were read, int32 [batch]."""
        carry = {"caches": self.stack.empty_caches(batch, self.length), "count": jnp.zeros(batch, jnp.int32)}
        return {**carry, "recent": jnp.zeros((batch, max(self.ngrams) - 1), jnp.int32)} if self.ngrams else carry

    def setup(self):
        if not self.stack.causal:
            raise ValueError("Decoder: a token would see what follows it: give a Stack with causal=True")
        self.embed = tokens_of(self.vocabulary, self.length, self.stack)
        if any(length < 2 for length in self.ngrams):
            raise ValueError(f"Decoder: ngrams={self.ngrams}: runs are of 2 tokens or more")
        self.run = [Embedding(self.slots, self.stack.features) for _ in self.ngrams]
        if not self.tied:
            self.head = drawn_dense(self.vocabulary, ("embed", "vocab"), self.stack.deviation, use_bias=False)

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
        """
        Args:
          tokens: int32 [batch, time].
          carry: what the call before returned; None: nothing came before, and nothing is kept.
          segments: int32 [batch, time], which of several packed sequences a token belongs to: it looks at no other, and
            positions begin anew in each.
          lengths: int32 [batch], with a carry: how many of a row's tokens there are; None: all.
          whole: False leaves out the last step, `logits`, which may take more memory than all others.
          train: whether dropout draws, from the key "dropout".

        Returns:
          logits float32 [batch, time, vocabulary], or float32 [batch, time, features] for `logits`; and the carry after
          the last token, None without one.

        Raises:
          ValueError: more tokens than learned positions, or segments with a carry.
        """
        if carry is not None and segments is not None:
            raise ValueError("Decoder: packed sequences have no carry: give one sequence a row")
        positions = caches = None
        if carry is not None:
            caches, number = carry["caches"], jnp.arange(tokens.shape[1])
            lengths = jnp.full(tokens.shape[0], tokens.shape[1]) if lengths is None else lengths
            positions = jnp.where(number < lengths[:, None], carry["count"][:, None] + number, -1)
        if segments is not None:
            positions = position_ids(segments)
        x = self.embed(tokens, positions, train=train)
        after = {}
        if self.ngrams:
            recent = None if carry is None else carry["recent"]
            vectors, recent = self._runs(tokens, positions, recent, lengths)
            x, after = x + vectors, {"recent": recent}
        x, caches = self.stack(x, positions=positions, segments=segments, caches=caches, train=train)
        x = self.logits(x) if whole else x
        return x, None if carry is None else {"caches": caches, "count": carry["count"] + lengths, **after}

    def _runs(
        self, tokens: Array, positions: Array | None, recent: Array | None, lengths: Array | None
    ) -> tuple[Array, Array]:
        """The sum of the vectors of the runs that end at each token, [batch, time, features], and the last tokens."""
        reach, time = max(self.ngrams) - 1, tokens.shape[1]
        before = jnp.zeros((tokens.shape[0], reach), tokens.dtype) if recent is None else recent.astype(tokens.dtype)
        known = jnp.concatenate([before, tokens], axis=1).astype(jnp.uint32)
        place = jnp.arange(time)[None] if positions is None else positions
        total: Any = 0
        for length, table in zip(self.ngrams, self.run):
            code = known[:, reach:]
            for back in range(1, length):  # what is not there, or of another sequence, counts as 0
                earlier = jnp.where(place >= back, known[:, reach - back : reach - back + time], 0)
                code = (code * jnp.uint32(0x9E3779B1)) ^ (earlier + jnp.uint32(0x7F4A7C15 + back))
            code = code ^ (code >> 15)
            total = total + table((code % jnp.uint32(self.slots)).astype(jnp.int32))
        read = jnp.full(tokens.shape[0], time) if lengths is None else lengths
        last = jnp.take_along_axis(known, read[:, None] + jnp.arange(reach), axis=1)
        return total, last.astype(jnp.int32)

    def logits(self, x: Array) -> Array:
        """float32 [..., features] -> [..., vocabulary]."""
        return self.embed.attend(x) if self.tied else self.head(x)

    def read(self, tokens: Array, lengths: Array, carry: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """Reads prompts of different lengths at once.

        Args:
          tokens: int32 [batch, time].
          lengths: int32 [batch], at least 1: how many tokens a row has.
          carry: what came before.

        Returns:
          logits float32 [batch, vocabulary] of what follows each prompt, and the carry after it.
        """
        x, carry = self(tokens, carry=carry, lengths=lengths, whole=False, train=False)  # pyright: ignore
        return self.logits(x[jnp.arange(tokens.shape[0]), lengths - 1]), carry


def gpt2(vocabulary: int = 50_257, length: int = 1024, **changes: Any) -> Decoder:
    """GPT-2 (Radford et al. 2019), by default with 124 million parameters; changes are of its `Stack`."""
    sizes = {"features": 768, "layers": 12, "heads": 12}
    return Decoder(vocabulary, length, Stack(causal=True, positions="learned", **{**sizes, **changes}))


def llama(vocabulary: int = 32_000, length: int = 4096, tied: bool = False, **changes: Any) -> Decoder:
    """Llama 2 (Touvron et al. 2023, arXiv:2307.09288), by default of 7 billion; changes are of its `Stack`."""
    chosen = {
        "features": 4096,
        "layers": 32,
        "heads": 32,
        "hidden": 11_008,
        "norm": "rms",
        "activation": nn.silu,
        "gated": True,
        "use_bias": False,
    }
    return Decoder(vocabulary, length, Stack(causal=True, **{**chosen, **changes}), tied)
