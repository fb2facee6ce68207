"""Llama as `LlamaForCausalLM`."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.layout import (
    Architecture,
    TensorRef,
    hidden,
    same_architecture,
    token_inputs,
)
from jaxdl.models.gpt import Decoder, llama

_OUTSIDE = {
    "embed/word/embedding": TensorRef("model.embed_tokens.weight"),
    "stack/norm_out/scale": TensorRef("model.norm.weight"),
    "head/kernel": TensorRef("lm_head.weight", "transposed"),
}
_BLOCK = {
    "norm1/scale": "input_layernorm",
    "norm2/scale": "post_attention_layernorm",
    "attention/query/kernel": "self_attn.q_proj",
    "attention/key/kernel": "self_attn.k_proj",
    "attention/value/kernel": "self_attn.v_proj",
    "attention/out/kernel": "self_attn.o_proj",
    "feed_forward/gate/kernel": "mlp.gate_proj",
    "feed_forward/in/kernel": "mlp.up_proj",
    "feed_forward/out/kernel": "mlp.down_proj",
}


def _model(config: Mapping[str, Any], tensors: frozenset[str]) -> Decoder:
    """Builds the model; raises UserError for scaled rotary embeddings."""
    del tensors
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise UserError(f"config.json: rope_type {rope['rope_type']!r} is not supported; use a model with 'default'")
    heads = config.get("num_attention_heads", 32)
    return llama(
        config.get("vocab_size", 32_000),
        config.get("max_position_embeddings", 2048),
        config.get("tie_word_embeddings", False),
        features=config.get("hidden_size", 4096),
        layers=config.get("num_hidden_layers", 32),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim"),
        hidden=config.get("intermediate_size", 11_008),
        epsilon=config.get("rms_norm_eps", 1e-6),
        rotary_base=float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
    )


def _config(model: Any, params: Mapping[str, Any]) -> dict[str, Any] | None:
    del params
    if not isinstance(model, Decoder) or model.ngrams or not same_architecture(model.stack, llama().stack):
        return None
    stack = model.stack
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.length,
        "hidden_size": stack.features,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.heads,
        "num_key_value_heads": stack.kv_heads or stack.heads,
        "head_dim": stack.head_size or stack.features // stack.heads,
        "intermediate_size": hidden(stack),
        "rms_norm_eps": stack.epsilon,
        "rope_theta": stack.rotary_base,
        "tie_word_embeddings": model.tied,
    }


def _tensor_ref(model: Decoder, name: str) -> TensorRef:
    del model
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, block, rest = name.split("/", 2)
    order = "transposed" if "kernel" in rest else "same"
    return TensorRef(f"model.layers.{block.removeprefix('block_')}.{_BLOCK[rest]}.weight", order)


LLAMA = Architecture(
    kind="llama",
    fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=token_inputs,
    ignored=("rotary_emb.inv_freq",),
)
