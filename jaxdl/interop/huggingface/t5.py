"""T5 and T5 1.1 as `T5ForConditionalGeneration`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

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
from jaxdl.interop.huggingface.settings import check_setting
from jaxdl.models.t5 import EncoderDecoder, t5
from jaxdl.models.transformer import tanh_gelu

_PARTS = {"query": "q", "key": "k", "value": "v", "out": "o"}


def _model(settings: Mapping[str, Any], tensors: Tensors) -> EncoderDecoder:
    """Builds the model; raises UserError for stacks of different depth or other activations."""
    activation = settings.get("feed_forward_proj", "relu")
    options = {"relu": {}, "gated-gelu": {"activation": tanh_gelu, "gated": True}}.get(activation)
    layers = settings.get("num_layers", 6)
    if options is None or settings.get("num_decoder_layers", layers) not in (None, layers):
        raise UserError(
            f"config.json: feed_forward_proj '{activation}' with num_layers={layers} and num_decoder_layers="
            f"{settings.get('num_decoder_layers')} is not supported; use 'relu' or 'gated-gelu', and equally many"
            " encoder and decoder layers"
        )
    gated = activation == "gated-gelu"
    check_setting("config.json", "is_gated_act", settings.get("is_gated_act", gated), gated)
    function = "gelu_new" if gated else "relu"
    check_setting("config.json", "dense_act_fn", settings.get("dense_act_fn", function), function)
    tied = "lm_head.weight" not in tensors
    model = t5(
        settings.get("vocab_size", 32_128),
        settings.get("n_positions", 512),
        tied,
        features=settings.get("d_model", 512),
        layers=layers,
        heads=settings.get("num_heads", 8),
        head_size=settings.get("d_kv", 64),
        hidden=settings.get("d_ff", 2048),
        epsilon=settings.get("layer_norm_epsilon", 1e-6),
        **options,
    )
    return model if _scaled(settings) else dataclasses.replace(model, tied_scale=1.0)


def _scaled(settings: Mapping[str, Any]) -> bool:
    """Returns whether the decoder's outputs are divided by sqrt(d_model), as with tied embeddings in T5 1.0."""
    return settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings", True))


def _copies(settings: Mapping[str, Any], tensors: Tensors) -> dict[str, str]:
    """Returns the tensors of the tied embeddings; transformers 5 writes T5 1.1 as tied, with another `lm_head`."""
    names = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    head, shared = tensors.get("lm_head.weight"), tensors.get("shared.weight")
    if _scaled(settings) or (head is not None and shared is not None and np.array_equal(head, shared)):
        names.append("lm_head.weight")
    return dict.fromkeys(names, "shared.weight")


def _config(model: Any, arrays: Mapping[str, Any], details: Details) -> dict[str, Any] | None:
    del arrays, details
    if not isinstance(model, EncoderDecoder) or not model.shared:
        return None
    stack, gated = model.decoder, model.decoder.gated
    published = t5(gated=gated, activation=tanh_gelu if gated else nn.relu)
    same = same_architecture(model.encoder, published.encoder) and same_architecture(stack, published.decoder)
    if not same or dataclasses.replace(model.encoder, causal=True, cross=True, parent=None) != stack:
        return None
    scaled = model.tied_scale == stack.features**-0.5
    if model.tied and not scaled and model.tied_scale != 1.0:
        return None
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": model.vocabulary,
        "n_positions": model.length,
        "d_model": stack.features,
        "num_layers": stack.layers,
        "num_decoder_layers": stack.layers,
        "num_heads": stack.heads,
        "d_kv": stack.head_size or stack.features // stack.heads,
        "d_ff": hidden(stack),
        "layer_norm_epsilon": stack.epsilon,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": model.tied,
        "scale_decoder_outputs": model.tied and scaled,
        "is_encoder_decoder": True,
    }


def _tensor_ref(model: EncoderDecoder, name: str) -> TensorRef:
    if name == "embed/word/embedding":
        return TensorRef("shared.weight")
    if name == "head/kernel":
        return TensorRef("lm_head.weight", "transposed")
    side, part, rest = name.split("/", 2)
    if part == "norm_out":
        return TensorRef(f"{side}.final_layer_norm.weight")
    if part == "relative":
        return TensorRef(f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    last = 2 if side == "decoder" else 1
    where = {"norm1": "layer.0.layer_norm", "norm_cross": "layer.1.layer_norm", "norm2": f"layer.{last}.layer_norm"}
    module, inner = rest.split("/", 1)
    block = f"{side}.block.{part.removeprefix('block_')}"
    if module in where:
        return TensorRef(f"{block}.{where[module]}.weight")
    inner = inner.removesuffix("/kernel")
    if module == "feed_forward":
        wi = {"gate": "wi_0", "in": "wi_1"} if model.decoder.gated else {"in": "wi"}
        return TensorRef(f"{block}.layer.{last}.DenseReluDense.{(wi | {'out': 'wo'})[inner]}.weight", "transposed")
    attention = "layer.0.SelfAttention" if module == "attention" else "layer.1.EncDecAttention"
    return TensorRef(f"{block}.{attention}.{_PARTS[inner]}.weight", "transposed")


T5 = Architecture(
    kind="t5",
    settings=(
        *("vocab_size", "n_positions", "d_model", "num_layers", "num_decoder_layers", "num_heads", "d_kv", "d_ff"),
        *("layer_norm_epsilon", "feed_forward_proj", "is_gated_act", "dense_act_fn", "tie_word_embeddings"),
        "scale_decoder_outputs",
    ),
    fixed={
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "is_encoder_decoder": True,
        "is_decoder": False,
    },
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=lambda model, settings, tensors: token_inputs(model, settings, tensors) * 2,
    aliases={
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    },
    copies=_copies,
)
