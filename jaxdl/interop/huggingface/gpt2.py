"""GPT-2 as `GPT2LMHeadModel`, with kernels [in, out] and fused query, key and value."""

from collections.abc import Mapping
from typing import Any

from jaxdl.interop.huggingface.layout import (
    Architecture,
    TensorRef,
    full_heads,
    hidden,
    same_architecture,
    token_inputs,
)
from jaxdl.models.gpt import Decoder, gpt2

FIXED = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_OUTSIDE = {
    "embed/word/embedding": "wte.weight",
    "embed/place/embedding": "wpe.weight",
    "stack/norm_out/scale": "ln_f.weight",
    "stack/norm_out/bias": "ln_f.bias",
}
_BLOCK = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention/query": "attn.c_attn",
    "attention/key": "attn.c_attn",
    "attention/value": "attn.c_attn",
    "attention/out": "attn.c_proj",
    "feed_forward/in": "mlp.c_fc",
    "feed_forward/out": "mlp.c_proj",
}
_PARTS = ("attention/query", "attention/key", "attention/value")  # order within c_attn


def _model(config: Mapping[str, Any], tensors: frozenset[str]) -> Decoder:
    del tensors
    features = config.get("n_embd", 768)
    return gpt2(
        config.get("vocab_size", 50_257),
        config.get("n_positions", 1024),
        features=features,
        layers=config.get("n_layer", 12),
        heads=config.get("n_head", 12),
        hidden=config.get("n_inner") or 4 * features,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
    )


def _config(model: Any, params: Mapping[str, Any]) -> dict[str, Any] | None:
    del params
    if not isinstance(model, Decoder) or not model.tied or model.ngrams:
        return None
    stack = model.stack
    if not same_architecture(stack, gpt2().stack) or not full_heads(stack):
        return None
    return {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": model.vocabulary,
        "n_positions": model.length,
        "n_embd": stack.features,
        "n_layer": stack.layers,
        "n_head": stack.heads,
        "n_inner": hidden(stack),
        "layer_norm_epsilon": stack.epsilon,
    }


def _tensor_ref(model: Decoder, name: str) -> TensorRef:
    del model
    if name in _OUTSIDE:
        return TensorRef(f"transformer.{_OUTSIDE[name]}")
    _, block, rest = name.split("/", 2)
    module, _, array = rest.rpartition("/")
    side = "bias" if array == "bias" else "weight"
    part, parts = (_PARTS.index(module), len(_PARTS)) if module in _PARTS else (0, 1)
    return TensorRef(f"transformer.h.{block.removeprefix('block_')}.{_BLOCK[module]}.{side}", part=part, parts=parts)


GPT2 = Architecture(
    kind="gpt2",
    fixed=FIXED,
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=token_inputs,
    prefix="transformer.",
    ignored=("attn.bias", "attn.masked_bias", "lm_head.weight"),
)
