"""Llama as `LlamaForCausalLM`."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.layout import (
    Architecture,
    Details,
    TensorRef,
    Tensors,
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


def _rope_theta(settings: Mapping[str, Any]) -> float:
    """Returns the base of the rotary wavelengths, from `rope_scaling` (legacy), `rope_parameters` or `rope_theta`.

    Raises:
      UserError: Scaled or partial rotary embeddings.
    """
    rope = settings.get("rope_scaling") or settings.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or any(isinstance(value, Mapping) for value in rope.values()):
        raise UserError(f"config.json: rope_type {kind!r} is not supported; use a model with 'default'")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(
            f"config.json: partial_rotary_factor={rope['partial_rotary_factor']} is not supported; use a model with 1.0"
        )
    return float(rope.get("rope_theta") or settings.get("rope_theta", 10_000.0))


def _model(settings: Mapping[str, Any], tensors: Tensors) -> Decoder:
    del tensors
    heads = settings.get("num_attention_heads", 32)
    return llama(
        settings.get("vocab_size", 32_000),
        settings.get("max_position_embeddings", 2048),
        settings.get("tie_word_embeddings", False),
        features=settings.get("hidden_size", 4096),
        layers=settings.get("num_hidden_layers", 32),
        heads=heads,
        kv_heads=settings.get("num_key_value_heads") or heads,
        head_size=settings.get("head_dim"),
        hidden=settings.get("intermediate_size", 11_008),
        epsilon=settings.get("rms_norm_eps", 1e-6),
        rotary_base=_rope_theta(settings),
    )


def _config(model: Any, arrays: Mapping[str, Any], details: Details) -> dict[str, Any] | None:
    del arrays, details
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


def _copies(settings: Mapping[str, Any], tensors: Tensors) -> dict[str, str]:
    del tensors
    return {"lm_head.weight": "model.embed_tokens.weight"} if settings.get("tie_word_embeddings", False) else {}


LLAMA = Architecture(
    kind="llama",
    settings=(
        *("vocab_size", "max_position_embeddings", "tie_word_embeddings", "hidden_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "rms_norm_eps"),
        *("rope_theta", "rope_scaling", "rope_parameters"),
    ),
    fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "is_encoder_decoder": False},
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=token_inputs,
    copies=_copies,
    ignored=("rotary_emb.inv_freq",),
)
