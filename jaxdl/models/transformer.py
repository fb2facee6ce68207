"""The Transformer: one block whose parts are choices, and the decoder made of it (arXiv:1706.03762).

What published models chose stands in functions: `gpt2`, `llama`.

Logical axis names. Parameters: "vocab", "embed", "heads", "mlp". Activations: "batch".
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.attention import Array, Cache, MultiHeadAttention, RelativeBias, drawn_dense, empty_cache, extended
from jaxdl.models.layers import Activation, Embedding

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "relative")
NORMS = ("layer", "rms")
ORDERS = ("pre", "post")
tanh_gelu = functools.partial(nn.gelu, approximate=True)
exact_gelu = functools.partial(nn.gelu, approximate=False)


class FeedForward(nn.Module):
    """Two dense layers on every token by itself; [..., features] -> [..., features].

    Attributes:
      hidden: numbers between the layers.
      activation: on them.
      gated: it is on the numbers of a third layer instead, by which they are multiplied (GLU, arXiv:2002.05202): with
        silu that is SwiGLU.
      use_bias, deviation, out_deviation, dtype: see `MultiHeadAttention`.
    """

    hidden: int
    activation: Activation = tanh_gelu
    gated: bool = False
    use_bias: bool = True
    deviation: float | None = None
    out_deviation: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = self._dense(self.hidden, ("embed", "mlp"), self.deviation, "in")(x)
        if self.gated:
            h = h * self.activation(self._dense(self.hidden, ("embed", "mlp"), self.deviation, "gate")(x))
        else:
            h = self.activation(h)
        return self._dense(x.shape[-1], ("mlp", "embed"), self.out_deviation or self.deviation, "out")(h)

    def _dense(self, features: int, axes: tuple[str, str], deviation: float | None, name: str) -> nn.Dense:
        return drawn_dense(features, axes, deviation, use_bias=self.use_bias, dtype=self.dtype, name=name)


def normalization(kind: str, epsilon: float, use_bias: bool, dtype: Any, name: str) -> nn.Module:
    """Layer normalization (arXiv:1607.06450), or by the root mean square alone (arXiv:1910.07467)."""
    scale = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
    if kind == "rms":
        return nn.RMSNorm(epsilon=epsilon, scale_init=scale, dtype=dtype, name=name)
    bias = nn.with_logical_partitioning(nn.initializers.zeros, ("embed",))
    return nn.LayerNorm(epsilon=epsilon, use_bias=use_bias, scale_init=scale, bias_init=bias, dtype=dtype, name=name)


class Block(nn.Module):
    """Attention and a feed-forward network, each added to what went into it.

    Attributes:
      attention: to the tokens themselves; a module of its own for each block.
      feed_forward: likewise.
      norm: "layer" or "rms".
      order: "pre", before each part (arXiv:2002.04745), or "post", after each sum, as at first.
      epsilon, norm_bias: of the normalization.
      dropout: rate on what each part adds, in training.
    """

    attention: MultiHeadAttention
    feed_forward: FeedForward
    norm: str = "layer"
    order: str = "pre"
    epsilon: float = 1e-5
    norm_bias: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Array,
        positions: Array | None = None,
        mask: Array | None = None,
        bias: Array | None = None,
        cache: Cache | None = None,
        train: bool = False,
    ) -> tuple[Array, Cache | None]:
        """[batch, n, features], and further arguments as of `MultiHeadAttention`; also the cache after it, if any."""
        kept: list[Cache | None] = [None]

        def attend(x: Array) -> Array:
            y = self.attention(x, positions=positions, mask=mask, bias=bias, cache=cache)
            if cache is None:
                return y
            y, kept[0] = y
            return y

        for number, part in enumerate((attend, self.feed_forward), start=1):
            norm = normalization(self.norm, self.epsilon, self.norm_bias, self.attention.dtype, f"norm{number}")
            y = part(norm(x) if self.order == "pre" else x)
            x = x + nn.Dropout(self.dropout)(y, deterministic=not train)
            x = norm(x) if self.order == "post" else x
        return x, kept[0]


class Decoder(nn.Module):
    """Says what follows each token, from that token and those before it: GPT-2 and Llama, by their arguments.

    Attributes:
      vocabulary: number of tokens.
      length: how many tokens it looks back at when it writes, and with learned positions the most there can be.
      features: of a token.
      layers: blocks.
      heads, kv_heads, head_size, window: see `MultiHeadAttention`.
      hidden: of the feed-forward networks; None: four times `features`.
      positions: "learned" or "sinusoidal", added to the tokens' vectors; "rotary"; "relative", T5's bias; "none".
      rotary_base: of "rotary".
      norm, order, epsilon, norm_bias: see `Block`.
      activation, gated: see `FeedForward`.
      use_bias: of the blocks' dense layers.
      tied: logits compare with the tokens' own vectors (arXiv:1608.05859); else there is a dense layer.
      dropout: rate on the vectors and on what blocks add.
      deviation: standard deviation of the drawn kernels and vectors; those of layers that add to the stream are divided
        by sqrt(2 * layers), as in GPT-2.
      dtype: to compute in, such as "bfloat16"; parameters, softmax and logits are float32.
      remat: blocks are computed again on the way back instead of remembered, to save memory.
    """

    vocabulary: int
    length: int
    features: int
    layers: int
    heads: int
    kv_heads: int | None = None
    head_size: int | None = None
    window: int = 0
    hidden: int | None = None
    positions: str = "rotary"
    rotary_base: float = 10_000.0
    norm: str = "layer"
    order: str = "pre"
    epsilon: float = 1e-5
    norm_bias: bool = True
    activation: Activation = tanh_gelu
    gated: bool = False
    use_bias: bool = True
    tied: bool = True
    dropout: float = 0.0
    deviation: float = 0.02
    dtype: Any = "float32"
    remat: bool = False

    @nn.nowrap
    def initial_carry(self, batch: int) -> dict[str, Any]:
        """The state before the first token: a cache for each block, and how many tokens were read, int32 [batch]."""
        size = self.head_size or self.features // self.heads
        dtype = jnp.dtype(self.dtype)
        room = min(self.length, self.window) if self.window else self.length
        caches = [empty_cache(batch, room, self.kv_heads or self.heads, size, dtype) for _ in range(self.layers)]
        return {"caches": caches, "count": jnp.zeros(batch, jnp.int32)}

    def setup(self):
        self.embed = Embedding(self.vocabulary, self.features, deviation=self.deviation)
        if not self.tied:
            self.head = drawn_dense(self.vocabulary, ("embed", "vocab"), self.deviation, use_bias=False)

    @nn.compact
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
          ValueError: an unknown choice, more tokens than learned positions, or segments with a carry.
        """
        self._check(tokens, carry, segments)
        positions = mask = None
        if carry is not None:
            number = jnp.arange(tokens.shape[1])
            lengths = jnp.full(len(tokens), tokens.shape[1]) if lengths is None else lengths
            positions = jnp.where(number < lengths[:, None], carry["count"][:, None] + number, -1)
        if segments is not None:
            positions = within(segments)
            mask = (segments[:, :, None] == segments[:, None, :])[:, None]
        plain = jnp.arange(tokens.shape[1])[None] if positions is None else positions
        x = self.embed(tokens)
        if self.positions == "learned":
            x = x + Embedding(self.length, self.features, deviation=self.deviation, name="place")(plain)
        elif self.positions == "sinusoidal":
            x = x + waves(plain, self.features)
        x = nn.Dropout(self.dropout)(x.astype(self.dtype), deterministic=not train)
        relative = None
        if self.positions == "relative":
            relative = RelativeBias(self.heads, causal=True, name="relative")
        block = nn.remat(Block, static_argnums=(6,)) if self.remat else Block
        caches = []
        for number in range(self.layers):
            cache, bias = None, None
            if carry is not None:
                cache = carry["caches"][number]
            if relative is not None:
                bias = relative(plain, plain if cache is None else _looked_at(cache, plain))
            x, cache = block(*self._parts(), **self._options(), name=f"block{number + 1}")(
                x, positions, mask, bias, cache, train
            )
            caches.append(cache)
        if self.order == "pre":
            x = normalization(self.norm, self.epsilon, self.norm_bias, jnp.float32, "norm")(x)
        x = x.astype(jnp.float32)
        x = self.logits(x) if whole else x
        return x, None if carry is None else {"caches": caches, "count": carry["count"] + lengths}

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
        logits, carry = self(tokens, carry=carry, lengths=lengths, train=False)  # pyright: ignore
        return logits[jnp.arange(len(tokens)), lengths - 1], carry

    def _parts(self) -> tuple[MultiHeadAttention, FeedForward]:
        shared = {
            "use_bias": self.use_bias,
            "deviation": self.deviation,
            "out_deviation": self.deviation * (2 * self.layers) ** -0.5,
            "dtype": jnp.dtype(self.dtype),
        }
        attention = MultiHeadAttention(
            self.heads,
            self.kv_heads,
            self.head_size,
            causal=True,
            window=self.window,
            rotary=self.rotary_base if self.positions == "rotary" else 0.0,
            scaled=self.positions != "relative",
            parent=None,
            **shared,
        )
        hidden = self.hidden or 4 * self.features
        network = FeedForward(hidden, self.activation, self.gated, parent=None, **shared)
        return attention, network

    def _options(self) -> dict[str, Any]:
        names = ("norm", "order", "epsilon", "norm_bias", "dropout")
        return {name: getattr(self, name) for name in names}

    def _check(self, tokens: Array, carry: Any, segments: Any) -> None:
        for name, value, known in (
            ("positions", self.positions, POSITIONS),
            ("norm", self.norm, NORMS),
            ("order", self.order, ORDERS),
        ):
            if value not in known:
                raise ValueError(f"Decoder: {name}={value!r}; one of {', '.join(known)}")
        if self.positions == "learned" and tokens.shape[1] > self.length:
            raise ValueError(f"Decoder: {tokens.shape[1]} tokens, but positions for {self.length}: set length")
        if carry is not None and segments is not None:
            raise ValueError("Decoder: packed sequences have no carry: give one sequence a row")


def _looked_at(cache: Cache, positions: Array) -> Array:
    """The positions of what tokens at `positions` [batch, n] look at, in the order of `MultiHeadAttention`."""
    if positions.shape[1] > 1:
        return jnp.concatenate([cache["position"], positions], axis=1)
    return extended({"position": cache["position"]}, positions)["position"]


def within(segments: Array) -> Array:
    """int32 [batch, time]: how many tokens of its own segment come before a token; segments lie one after the other."""
    time = jnp.arange(segments.shape[1])[None]
    begins = jnp.concatenate([jnp.ones_like(segments[:, :1]), segments[:, 1:] != segments[:, :-1]], axis=1)
    return time - jax.lax.cummax(jnp.where(begins, time, 0), axis=1)


def waves(positions: Array, features: int) -> Array:
    """Sinusoids of the positions, [batch, n] -> [batch, n, features]: sines, then cosines (arXiv:1706.03762)."""
    half = features // 2
    angle = positions.astype(jnp.float32)[..., None] * 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def gpt2(vocabulary: int = 50_257, length: int = 1024, **changes: Any) -> Decoder:
    """GPT-2 (Radford et al. 2019), by default with 124 million parameters."""
    sizes = {"features": 768, "layers": 12, "heads": 12}
    return Decoder(vocabulary, length, positions="learned", **{**sizes, **changes})


def llama(vocabulary: int = 32_000, length: int = 4096, **changes: Any) -> Decoder:
    """Llama 2 (Touvron et al. 2023, arXiv:2307.09288), by default with 7 billion parameters."""
    chosen = {
        "features": 4096,
        "layers": 32,
        "heads": 32,
        "hidden": 11_008,
        "norm": "rms",
        "activation": nn.silu,
        "gated": True,
        "use_bias": False,
        "tied": False,
    }
    return Decoder(vocabulary, length, **{**chosen, **changes})
