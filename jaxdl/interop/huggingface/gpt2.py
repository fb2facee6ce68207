"""GPT-2 as `GPT2LMHeadModel`, with kernels [in, out] and fused query, key and value."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdl.interop.huggingface.layout import (
    Architecture,
    Details,
    TensorRef,
    Tensors,
    full_heads,
    hidden,
    same_architecture,
    token_inputs,
)
from jaxdl.models.gpt import Decoder, gpt2

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


def _model(settings: Mapping[str, Any], tensors: Tensors) -> Decoder:
    del tensors
    features = settings.get("n_embd", 768)
    model = gpt2(
        settings.get("vocab_size", 50_257),
        settings.get("n_positions", 1024),
        features=features,
        layers=settings.get("n_layer", 12),
        heads=settings.get("n_head", 12),
        hidden=settings.get("n_inner") or 4 * features,
        epsilon=settings.get("layer_norm_epsilon", 1e-5),
    )
    return dataclasses.replace(model, tied=settings.get("tie_word_embeddings", True))


def _config(model: Any, arrays: Mapping[str, Any], details: Details) -> dict[str, Any] | None:
    del arrays, details
    if not isinstance(model, Decoder) or model.ngrams:
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
        "tie_word_embeddings": model.tied,
    }


def _tensor_ref(model: Decoder, name: str) -> TensorRef:
    del model
    if name == "head/kernel":
        return TensorRef("lm_head.weight", "transposed")
    if name in _OUTSIDE:
        return TensorRef(f"transformer.{_OUTSIDE[name]}")
    _, block, rest = name.split("/", 2)
    module, _, array = rest.rpartition("/")
    side = "bias" if array == "bias" else "weight"
    part, parts = (_PARTS.index(module), len(_PARTS)) if module in _PARTS else (0, 1)
    return TensorRef(f"transformer.h.{block.removeprefix('block_')}.{_BLOCK[module]}.{side}", part=part, parts=parts)


def _copies(settings: Mapping[str, Any], tensors: Tensors) -> dict[str, str]:
    del tensors
    return {"lm_head.weight": "transformer.wte.weight"} if settings.get("tie_word_embeddings", True) else {}


GPT2 = Architecture(
    kind="gpt2",
    settings=(
        *("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "layer_norm_epsilon"),
        "tie_word_embeddings",
    ),
    fixed={
        "activation_function": "gelu_new",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "is_encoder_decoder": False,
    },
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=token_inputs,
    inert=(
        *("n_ctx", "reorder_and_upcast_attn", "summary_type", "summary_use_proj", "summary_activation"),
        *("summary_proj_to_labels", "summary_first_dropout", "is_decoder"),
    ),
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    copies=_copies,
    prefix="transformer.",
    ignored=("attn.bias", "attn.masked_bias"),
)
