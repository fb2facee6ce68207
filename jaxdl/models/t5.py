"""Encoder-decoders, which read tokens and write others: T5, and the Transformer as it was at first."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.attention import Array, drawn_dense
from jaxdl.models.layers.dot_product import same
from jaxdl.models.transformer import Stack, position_ids, there, tokens_of


class EncoderDecoder(nn.Module):
    """Reads tokens, and writes others: T5, and the Transformer as it was at first, by their arguments.

    Attributes:
      vocabulary: number of tokens, of both.
      length: how many tokens it may write, and with learned positions the most there can be of either.
      encoder: blocks that read.
      decoder: blocks that write, with `causal=True` and `cross=True`.
      tied: logits compare with the tokens' own vectors, divided by the square root of `features`, as in T5.
      shared: one table of vectors for what is read and written.
      tied_scale: factor of what is compared with tied vectors; T5 has features ** -0.5.
      copies: it may also write a token of those that it reads, whichever the vocabulary's say, see `Pointer`; then what
        it gives are log-probabilities.
    """

    vocabulary: int
    length: int
    encoder: Stack
    decoder: Stack
    tied: bool = True
    shared: bool = True
    tied_scale: float = 1.0
    copies: bool = False

    def setup(self):
        if not (self.decoder.causal and self.decoder.cross) or self.encoder.causal or self.encoder.cross:
            raise ValueError("EncoderDecoder: the decoder has causal=True and cross=True, the encoder neither")
        self.embed = tokens_of(self.vocabulary, self.length, self.decoder)
        if not self.shared:
            self.embed_source = tokens_of(self.vocabulary, self.length, self.encoder)
        if not self.tied:
            self.head = drawn_dense(self.vocabulary, ("embed", "vocab"), self.decoder.deviation, use_bias=False)
        if self.copies:
            self.pointer = Pointer(self.decoder.features)

    def __call__(
        self,
        inputs: Array,
        target: Array,
        *,
        length: Array | None = None,
        segments: tuple[Array, Array] | None = None,
        train: bool,
    ) -> Array:
        """Logits float32 [batch, time, vocabulary] for what follows each of `target` int32 [batch, time].

        Args:
          inputs: int32 [batch, n].
          length: int32 [batch], how many of a row's inputs there are; None: all.
          segments: int32 [batch, n] and [batch, time], which of several packed pairs each of the inputs and of the
            target is of, 0 none; one sees nothing of another.
        """
        own, written = segments or (None, None)
        memory = self.encode(inputs, length=length, segments=own, train=train)
        if own is None or written is None:
            return self._decode(memory, target, None, None, train)[0]
        memory = {**memory, "mask": same(written, own)}
        return self._decode(memory, target, position_ids(written), None, train, segments=written)[0]

    def encode(
        self, inputs: Array, *, length: Array | None = None, segments: Array | None = None, train: bool = False
    ) -> dict[str, Any]:
        """What the decoder looks at: keys and values for each of its blocks; every leaf [batch, ...]."""
        seen = jnp.ones(inputs.shape, bool) if length is None else there(inputs, length)
        embed = self.embed if self.shared else self.embed_source
        positions = None if segments is None else position_ids(segments)
        x = embed(inputs, positions, train=train)
        seen = seen[:, None, None]
        x, _ = self.encoder(x, positions=positions, mask=seen, segments=segments, train=train)
        memory = {"blocks": self.decoder.project_memory(x), "mask": seen}
        return {**memory, "keys": self.pointer.project_memory(x), "inputs": inputs} if self.copies else memory

    def start(self, memory: dict[str, Any]) -> dict[str, Any]:
        """The decoder's carry before the first token; every leaf [batch, ...]."""
        batch = memory["mask"].shape[0]
        return {"caches": self.decoder.empty_caches(batch, self.length), "count": jnp.zeros(batch, jnp.int32)}

    def decode(self, memory: dict[str, Any], carry: dict[str, Any], token: Array) -> tuple[Array, dict[str, Any]]:
        """One step: token int32 [batch] -> logits [batch, vocabulary] for the one that follows, and the carry."""
        positions = carry["count"][:, None]
        logits, caches = self._decode(memory, token[:, None], positions, carry["caches"], False)
        return logits[:, 0], {"caches": caches, "count": carry["count"] + 1}

    def _decode(
        self,
        memory: dict[str, Any],
        target: Array,
        positions: Array | None,
        caches: Any,
        train: bool,
        segments: Array | None = None,
    ) -> tuple[Array, Any]:
        x = self.embed(target, positions, train=train)
        x, caches = self.decoder(
            x,
            positions=positions,
            segments=segments,
            memory=memory["blocks"],
            memory_mask=memory["mask"],
            caches=caches,
            train=train,
        )
        logits = self.embed.attend(x * self.tied_scale) if self.tied else self.head(x)
        if self.copies:
            logits = self.pointer(x, logits, memory["keys"], memory["inputs"], memory["mask"][:, 0])
        return logits, caches


class Pointer(nn.Module):
    """A share of each next token's probability goes to the tokens that were read, as they are looked at.

    See et al. 2017, arXiv:1704.04368, with an attention of its own.

    Attributes:
      features: of queries and keys.
    """

    features: int

    def setup(self):
        self.query = drawn_dense(self.features, ("embed", None), None, use_bias=False)
        self.key = drawn_dense(self.features, ("embed", None), None, use_bias=False)
        self.gate = drawn_dense(1, ("embed", None), None)

    def project_memory(self, memory: Array) -> Array:
        """Keys [batch, m, features] of what was read."""
        return self.key(memory)

    def __call__(self, x: Array, logits: Array, keys: Array, inputs: Array, mask: Array) -> Array:
        """Log-probabilities float32 [batch, n, vocabulary].

        Args:
          x: [batch, n, features], what is known when each token is written.
          logits: [batch, n, vocabulary] of tokens that are not copied.
          keys: what `project_memory` gave.
          inputs: int32 [batch, m], the tokens that were read.
          mask: bool, broadcasts to [batch, n, m], which of them are seen.
        """
        scores = jnp.einsum("bnf,bmf->bnm", self.query(x), keys) * self.features**-0.5
        looked = nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)
        share = nn.sigmoid(self.gate(x) + 1.0)

        def copied(written: Array, inputs: Array, looked: Array) -> Array:
            return written.at[:, inputs].add(looked)

        total = jax.vmap(copied)(share * nn.softmax(logits, axis=-1), inputs, (1.0 - share) * looked)
        return jnp.log(jnp.maximum(total, 1e-20))


def t5(vocabulary: int = 32_128, length: int = 512, tied: bool = True, **changes: Any) -> EncoderDecoder:
    """T5 (Raffel et al. 2019, arXiv:1910.10683), by default with the 60 million parameters of its small size; changes
    are of both its `Stack`s. Version 1.1 has `activation=tanh_gelu`, `gated=True` and `tied=False`."""
    chosen = {
        "features": 512,
        "layers": 6,
        "heads": 8,
        "head_size": 64,
        "positions": "relative",
        "scaled": False,
        "norm": "rms",
        "epsilon": 1e-6,
        "activation": nn.relu,
        "use_bias": False,
        **changes,
    }
    return EncoderDecoder(
        vocabulary,
        length,
        Stack(**chosen),
        Stack(causal=True, cross=True, **chosen),
        tied,
        tied_scale=chosen["features"] ** -0.5,
    )
