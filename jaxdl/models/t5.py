"""Encoder-decoder Transformers (T5) and a pointer-generator head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.attention import Array, drawn_dense
from jaxdl.models.layers.dot_product import same_segment
from jaxdl.models.layers.token_embedding import padding_mask, position_ids
from jaxdl.models.transformer import Stack, tokens_of


class EncoderDecoder(nn.Module):
    """Encoder-decoder Transformer (T5 with the arguments of `t5`).

    Attributes:
      vocabulary: Number of tokens of source and target.
      length: Maximum number of generated tokens, and of all tokens with learned positions.
      encoder: Blocks of the encoder.
      decoder: Blocks of the decoder, with `causal=True` and `cross=True`.
      tied: Logits use the token embeddings instead of a dense layer.
      shared: Encoder and decoder share their token embeddings.
      tied_scale: Factor of the features before tied logits; features ** -0.5 in T5.
      copies: A pointer-generator copies source tokens (see `Pointer`). Outputs are log-probabilities instead of logits.
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
            raise ValueError("EncoderDecoder: the decoder needs causal=True and cross=True, the encoder neither")
        self.embed = tokens_of(self.vocabulary, self.length, self.decoder)
        if not self.shared:
            self.embed_source = tokens_of(self.vocabulary, self.length, self.encoder)
        if not self.tied:
            self.head = drawn_dense(self.vocabulary, ("embed", "vocab"), self.decoder.init_std, use_bias=False)
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
        """Returns next-token logits float32 [batch, time, vocabulary] (teacher forcing).

        Args:
          inputs: int32 [batch, n], source tokens.
          target: int32 [batch, time], target tokens, shifted right.
          length: int32 [batch], the number of valid source tokens. None: all.
          segments: int32 [batch, n] and [batch, time], the number of the packed pair of each source and target token. 0
            is padding. Pairs do not attend to each other.
          train: Whether dropout is active.
        """
        source_segments, target_segments = segments or (None, None)
        memory = self.encode(inputs, length=length, segments=source_segments, train=train)
        if source_segments is None or target_segments is None:
            return self._decode(memory, target, None, None, train)[0]
        memory = {**memory, "mask": same_segment(target_segments, source_segments)}
        positions = position_ids(target_segments)
        return self._decode(memory, target, positions, None, train, segments=target_segments)[0]

    def encode(
        self, inputs: Array, *, length: Array | None = None, segments: Array | None = None, train: bool = False
    ) -> dict[str, Any]:
        """Returns the decoder's memory, keys and values of each block; every leaf [batch, ...]."""
        mask = jnp.ones(inputs.shape, bool) if length is None else padding_mask(inputs, length)
        embed = self.embed if self.shared else self.embed_source
        positions = None if segments is None else position_ids(segments)
        x = embed(inputs, positions, train=train)
        mask = mask[:, None, None]
        x, _ = self.encoder(x, positions=positions, mask=mask, segments=segments, train=train)
        memory = {"blocks": self.decoder.project_memory(x), "mask": mask}
        return {**memory, "keys": self.pointer.project_memory(x), "inputs": inputs} if self.copies else memory

    def start(self, memory: dict[str, Any]) -> dict[str, Any]:
        """Returns the decoder's carry before the first token; every leaf [batch, ...]."""
        batch = memory["mask"].shape[0]
        return {"caches": self.decoder.empty_caches(batch, self.length), "count": jnp.zeros(batch, jnp.int32)}

    def decode(self, memory: dict[str, Any], carry: dict[str, Any], token: Array) -> tuple[Array, dict[str, Any]]:
        """Returns logits [batch, vocabulary] after token int32 [batch], and the new carry."""
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
    """Pointer-generator head with separate attention (See et al. 2017, arXiv:1704.04368).

    Attributes:
      features: Width of queries and keys.
    """

    features: int

    def setup(self):
        self.query = drawn_dense(self.features, ("embed", None), None, use_bias=False)
        self.key = drawn_dense(self.features, ("embed", None), None, use_bias=False)
        self.gate = drawn_dense(1, ("embed", None), None)

    def project_memory(self, memory: Array) -> Array:
        """Returns keys [batch, m, features] of the source."""
        return self.key(memory)

    def __call__(self, x: Array, logits: Array, keys: Array, inputs: Array, mask: Array) -> Array:
        """Returns log-probabilities float32 [batch, n, vocabulary].

        Args:
          x: [batch, n, features], the decoder's output.
          logits: [batch, n, vocabulary] of generated tokens.
          keys: Keys of `project_memory`.
          inputs: int32 [batch, m], source tokens.
          mask: bool, broadcasts to [batch, n, m]. False masks a source token.
        """
        scores = jnp.einsum("bnf,bmf->bnm", self.query(x), keys) * self.features**-0.5
        attention = nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)
        share = nn.sigmoid(self.gate(x) + 1.0)

        def add_copies(generated: Array, inputs: Array, attention: Array) -> Array:
            return generated.at[:, inputs].add(attention)

        total = jax.vmap(add_copies)(share * nn.softmax(logits, axis=-1), inputs, (1.0 - share) * attention)
        return jnp.log(jnp.maximum(total, 1e-20))


def t5(vocabulary: int = 32_128, length: int = 512, tied: bool = True, **changes: Any) -> EncoderDecoder:
    """Returns T5 small, 60 million parameters (Raffel et al. 2019, arXiv:1910.10683).

    Version 1.1 has `activation=tanh_gelu`, `gated=True` and `tied=False`.

    Args:
      vocabulary: Number of tokens.
      length: Maximum number of generated tokens.
      tied: Logits use the token embeddings.
      changes: Arguments of both stacks (`Stack`).
    """
    options = {
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
        Stack(**options),
        Stack(causal=True, cross=True, **options),
        tied,
        tied_scale=options["features"] ** -0.5,
    )
