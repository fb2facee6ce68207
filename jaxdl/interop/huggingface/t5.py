"""T5 and T5 1.1 as `T5ForConditionalGeneration`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.layout import (
    Architecture,
    TensorRef,
    hidden,
    same_architecture,
    token_inputs,
)
from jaxdl.models.t5 import EncoderDecoder, t5
from jaxdl.models.transformer import tanh_gelu

_PARTS = {"query": "q", "key": "k", "value": "v", "out": "o"}


def _model(config: Mapping[str, Any], tensors: frozenset[str]) -> EncoderDecoder:
    """Builds the model; raises UserError for stacks of different depth or other activations."""
    activation = config.get("feed_forward_proj", "relu")
    options = {"relu": {}, "gated-gelu": {"activation": tanh_gelu, "gated": True}}.get(activation)
    layers = config.get("num_layers", 6)
    if options is None or config.get("num_decoder_layers", layers) not in (None, layers):
        raise UserError(
            f"config.json: feed_forward_proj '{activation}' with num_decoder_layers={config.get('num_decoder_layers')}"
            " is not supported; use 'relu' or 'gated-gelu', and equally many encoder and decoder layers"
        )
    tied = "lm_head.weight" not in tensors
    model = t5(
        config.get("vocab_size", 32_128),
        config.get("n_positions", 512),
        tied,
        features=config.get("d_model", 512),
        layers=layers,
        heads=config.get("num_heads", 8),
        head_size=config.get("d_kv", 64),
        hidden=config.get("d_ff", 2048),
        epsilon=config.get("layer_norm_epsilon", 1e-6),
        **options,
    )
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
    return model if scaled else dataclasses.replace(model, tied_scale=1.0)


def _config(model: Any, params: Mapping[str, Any]) -> dict[str, Any] | None:
    del params
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
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
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
    fixed={"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=lambda model, tensors: token_inputs(model, tensors) * 2,
    ignored=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
)
