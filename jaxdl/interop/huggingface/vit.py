"""ViT as `ViTForImageClassification`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.interop.huggingface.layout import (
    Architecture,
    TensorRef,
    full_heads,
    hidden,
    same_architecture,
)
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


def _model(config: Mapping[str, Any], tensors: frozenset[str]) -> VisionTransformer:
    del tensors
    labels = config.get("id2label") or range(config.get("num_labels", 2))
    return vit(
        len(labels),
        config.get("patch_size", 16),
        features=config.get("hidden_size", 768),
        layers=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        hidden=config.get("intermediate_size", 3072),
        epsilon=config.get("layer_norm_eps", 1e-12),
    )


def _config(model: Any, params: Mapping[str, Any]) -> dict[str, Any] | None:
    if not isinstance(model, VisionTransformer) or (model.pool, model.positions) != ("cls", "learned"):
        return None
    stack = model.stack
    if not same_architecture(stack, vit().stack) or not full_heads(stack):
        return None
    return {
        "architectures": ["ViTForImageClassification"],
        "patch_size": model.patch,
        **_sizes(model, params),
        "hidden_size": stack.features,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.heads,
        "intermediate_size": hidden(stack),
        "layer_norm_eps": stack.epsilon,
        "id2label": {str(label): f"LABEL_{label}" for label in range(model.num_classes)},
        "label2id": {f"LABEL_{label}": label for label in range(model.num_classes)},
    }


def _sizes(model: VisionTransformer, params: Mapping[str, Any]) -> dict[str, int]:
    """Returns the settings that follow from the arrays; {} without arrays."""
    if not params:
        return {}
    side = round((len(params["place"]) - 1) ** 0.5)
    return {"image_size": side * model.patch, "num_channels": len(params["entry/kernel"]) // model.patch**2}


def _tensor_ref(model: VisionTransformer, name: str) -> TensorRef:
    if name in _OUTSIDE:
        return _OUTSIDE[name]._replace(side=model.patch)
    _, block, rest = name.split("/", 2)
    module, _, array = rest.rpartition("/")
    side, order = ("bias", "same") if array == "bias" else ("weight", "transposed" if array == "kernel" else "same")
    return TensorRef(f"vit.encoder.layer.{block.removeprefix('block_')}.{_BLOCK[module]}.{side}", order)


def _inputs(model: VisionTransformer, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray]:
    """Returns an image of the size that matches the position embeddings."""
    ref, entry = (tensors.get(_OUTSIDE[name].tensor) for name in ("place", "entry/kernel"))
    side = 1 if ref is None else round((ref.shape[1] - 1) ** 0.5)
    channels = 3 if entry is None else entry.shape[1]
    return (np.zeros((1, side * model.patch, side * model.patch, channels), np.float32),)


VIT = Architecture(
    kind="vit",
    fixed={"hidden_act": "gelu", "qkv_bias": True},
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=_inputs,
    prefix="vit.",
    ignored=("vit.pooler.dense.weight", "vit.pooler.dense.bias", "embeddings.mask_token"),
)
