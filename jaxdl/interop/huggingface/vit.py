"""ViT as `ViTForImageClassification`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.layout import (
    Architecture,
    Details,
    TensorRef,
    Tensors,
    dense_ref,
    full_heads,
    hidden,
    same_architecture,
)
from jaxdl.interop.huggingface.settings import label_settings
from jaxdl.models.vit import VisionTransformer, vit

_OUTSIDE = {
    "entry/kernel": TensorRef("vit.embeddings.patch_embeddings.projection.weight", "patches"),
    "entry/bias": TensorRef("vit.embeddings.patch_embeddings.projection.bias"),
    "first": TensorRef("vit.embeddings.cls_token", "leading"),
    "place": TensorRef("vit.embeddings.position_embeddings", "leading"),
    "stack/norm_out/scale": TensorRef("vit.layernorm.weight"),
    "stack/norm_out/bias": TensorRef("vit.layernorm.bias"),
    "head/kernel": TensorRef("classifier.weight", "transposed"),
    "head/bias": TensorRef("classifier.bias"),
}
_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attention/query": "attention.attention.query",
    "attention/key": "attention.attention.key",
    "attention/value": "attention.attention.value",
    "attention/out": "attention.output.dense",
    "feed_forward/in": "intermediate.dense",
    "feed_forward/out": "output.dense",
}


def _pair(value: Any) -> tuple[int, int]:
    """Returns (height, width) of a number or a list."""
    return (value, value) if isinstance(value, int) else tuple(value)


def _model(settings: Mapping[str, Any], tensors: Tensors) -> VisionTransformer:
    patch = _pair(settings.get("patch_size", 16))
    if len(set(patch)) > 1:
        raise UserError(f"config.json: patch_size={list(patch)} is not supported; use a model with square patches")
    if "classifier.weight" not in tensors:
        raise UserError("the tensor 'classifier.weight' is missing; save the model as ViTForImageClassification")
    return vit(
        len(tensors["classifier.weight"]),
        patch[0],
        features=settings.get("hidden_size", 768),
        layers=settings.get("num_hidden_layers", 12),
        heads=settings.get("num_attention_heads", 12),
        hidden=settings.get("intermediate_size", 3072),
        epsilon=settings.get("layer_norm_eps", 1e-12),
    )


def _config(model: Any, arrays: Mapping[str, Any], details: Details) -> dict[str, Any] | None:
    if not isinstance(model, VisionTransformer) or (model.pool, model.positions, tuple(model.stem)) != (
        "cls",
        "learned",
        (),
    ):
        return None
    stack = model.stack
    if not same_architecture(stack, vit().stack) or not full_heads(stack):
        return None
    return {
        "architectures": ["ViTForImageClassification"],
        "patch_size": model.patch,
        **_sizes(model, arrays, details.image_size),
        "hidden_size": stack.features,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.heads,
        "intermediate_size": hidden(stack),
        "layer_norm_eps": stack.epsilon,
        **label_settings(details.names, model.num_classes),
    }


def _sizes(model: VisionTransformer, arrays: Mapping[str, Any], image_size: tuple[int, int] | None) -> dict[str, Any]:
    """Returns the settings that follow from the arrays; {} without arrays."""
    if not arrays:
        return {}
    side = model.patch * round((len(arrays["place"]) - 1) ** 0.5)
    size = side if image_size is None or len(set(image_size)) == 1 else list(image_size)
    return {"image_size": size, "num_channels": len(arrays["entry/kernel"]) // model.patch**2}


def _tensor_ref(model: VisionTransformer, name: str) -> TensorRef:
    if name in _OUTSIDE:
        return _OUTSIDE[name]._replace(side=model.patch)
    _, block, rest = name.split("/", 2)
    module, _, array = rest.rpartition("/")
    return dense_ref(f"vit.encoder.layer.{block.removeprefix('block_')}.{_BLOCK[module]}", array)


def _inputs(model: VisionTransformer, settings: Mapping[str, Any], tensors: Tensors) -> tuple[np.ndarray]:
    """Returns an image of the size in config.json; raises UserError for other channels than the tensors'."""
    del model
    channels, entry = settings.get("num_channels", 3), tensors.get(_OUTSIDE["entry/kernel"].tensor)
    if entry is not None and entry.shape[1] != channels:
        raise UserError(f"config.json: num_channels={channels}, but the tensors have {entry.shape[1]}; correct it")
    return (np.zeros((1, *_pair(settings.get("image_size", 224)), channels), np.float32),)


VIT = Architecture(
    kind="vit",
    settings=(
        *("patch_size", "image_size", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads"),
        *("intermediate_size", "layer_norm_eps"),
    ),
    fixed={"hidden_act": "gelu", "qkv_bias": True, "is_encoder_decoder": False},
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=_inputs,
    inert=("encoder_stride", "pooler_act", "pooler_output_size", "tie_word_embeddings"),
    prefix="vit.",
    ignored=("vit.pooler.dense.weight", "vit.pooler.dense.bias", "embeddings.mask_token"),
)
