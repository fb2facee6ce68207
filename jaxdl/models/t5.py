"""Encoder-decoders, which read tokens and write others: T5, and the Transformer as it was at first."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.attention import Array, drawn_dense
from jaxdl.models.dot_product import same
from jaxdl.models.transformer import Stack, there, tokens_of, within


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
    """

    vocabulary: int
    length: int
    encoder: Stack
    decoder: Stack
    tied: bool = True
    shared: bool = True
    tied_scale: float = 1.0

    def setup(self):
        if not (self.decoder.causal and self.decoder.cross) or self.encoder.causal or self.encoder.cross:
            raise ValueError("EncoderDecoder: the decoder has causal=True and cross=True, the encoder neither")
        self.embed = tokens_of(self.vocabulary, self.length, self.decoder)
        if not self.shared:
            self.embed_source = tokens_of(self.vocabulary, self.length, self.encoder)
        if not self.tied:
            self.head = drawn_dense(self.vocabulary, ("embed", "vocab"), self.decoder.deviation, use_bias=False)

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
        return self._decode(memory, target, within(written), None, train, segments=written)[0]

    def encode(
        self, inputs: Array, *, length: Array | None = None, segments: Array | None = None, train: bool = False
    ) -> dict[str, Any]:
        """What the decoder looks at: keys and values for each of its blocks; every leaf [batch, ...]."""
        seen = jnp.ones(inputs.shape, bool) if length is None else there(inputs, length)
        embed = self.embed if self.shared else self.embed_source
        positions = None if segments is None else within(segments)
        x = embed(inputs, positions, train=train)
        seen = seen[:, None, None]
        x, _ = self.encoder(x, positions=positions, mask=seen, segments=segments, train=train)
        return {"blocks": self.decoder.remember(x), "mask": seen}

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
        return self.embed.attend(x * self.tied_scale) if self.tied else self.head(x), caches


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
