"""ResNet as `ResNetForImageClassification`.

Both models use version 1.5 bottlenecks (stride in the 3x3 convolution) and batch norm with epsilon 1e-5.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxdl.errors import UserError, nearest
from jaxdl.interop.huggingface.layout import Architecture, Details, TensorRef, Tensors, dense_ref
from jaxdl.interop.huggingface.settings import label_settings
from jaxdl.models.layers.norms import batch_norm
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet

_HEAD = "classifier.1.weight"
_ARRAYS = {
    "scale": TensorRef("normalization.weight"),
    "bias": TensorRef("normalization.bias"),
    "mean": TensorRef("normalization.running_mean"),
    "var": TensorRef("normalization.running_var"),
    "kernel": TensorRef("convolution.weight", "convolution"),
}
_BLOCK = re.compile(r"stage(\d+)/block(\d+)/(?:(conv|norm)(\d+)|(shortcut)(_norm)?)")


def _model(settings: Mapping[str, Any], tensors: Tensors) -> ResNet:
    kind, width = settings.get("layer_type", "bottleneck"), settings.get("embedding_size", 64)
    if kind not in ("basic", "bottleneck"):
        raise UserError(f"config.json: layer_type {kind!r} is unknown; {nearest(str(kind), ('basic', 'bottleneck'))}")
    depths = settings.get("depths", [3, 4, 6, 3])
    sizes = list(settings.get("hidden_sizes", [256, 512, 1024, 2048]))
    expected = _hidden_sizes(width, kind == "bottleneck", len(depths))
    if sizes != expected:
        raise UserError(
            f"config.json: hidden_sizes {sizes} are not supported; {kind} layers with embedding_size {width} need"
            f" {expected}"
        )
    if _HEAD not in tensors:
        raise UserError(f"the tensor '{_HEAD}' is missing; save the model as ResNetForImageClassification")
    block = Bottleneck if kind == "bottleneck" else BasicBlock
    return ResNet(tuple(depths), len(tensors[_HEAD]), width, block, "imagenet")


def _hidden_sizes(width: int, bottleneck: bool, stages: int) -> list[int]:
    return [width * (4 if bottleneck else 1) * 2**stage for stage in range(stages)]


def _config(model: Any, arrays: Mapping[str, Any], details: Details) -> dict[str, Any] | None:
    """Returns config.json; raises UserError for a ResNet without an equivalent."""
    if not isinstance(model, ResNet):
        return None
    options, norm = {}, model.norm
    while isinstance(norm, functools.partial):
        norm, options = norm.func, {**norm.keywords, **options}
    unsupported = {
        f"stem={model.stem!r}": model.stem != "imagenet",
        "block, neither BasicBlock nor Bottleneck,": model.block not in (BasicBlock, Bottleneck),
        "norm, not batch_norm with epsilon 1e-5,": norm is not batch_norm or options.get("epsilon", 1e-5) != 1e-5,
        "activation, not relu,": model.activation is not nn.relu,
    }
    for setting, present in unsupported.items():
        if present:
            raise UserError(
                f"the model's {setting} has no Hugging Face equivalent; train ResNet with stem='imagenet'"
                " and its default block, norm and activation to export it"
            )
    bottleneck = model.block is Bottleneck
    return {
        "architectures": ["ResNetForImageClassification"],
        **({"num_channels": arrays["stem/conv/kernel"].shape[2]} if arrays else {}),
        "embedding_size": model.width,
        "hidden_sizes": _hidden_sizes(model.width, bottleneck, len(model.stage_sizes)),
        "depths": list(model.stage_sizes),
        "layer_type": "bottleneck" if bottleneck else "basic",
        **label_settings(details.names, model.num_classes),
    }


def _tensor_ref(model: Any, name: str) -> TensorRef | None:
    del model
    module, _, array = name.rpartition("/")
    if module == "head":
        return dense_ref("classifier.1", array)
    ref, match = _ARRAYS.get(array), _BLOCK.fullmatch(module)
    if ref and module in ("stem/conv", "stem/norm"):
        return ref._replace(tensor=f"resnet.embedder.embedder.{ref.tensor}")
    if not ref or not match:
        return None
    stage, block, _, number, _, _ = match.groups()
    layer = f"layer.{int(number) - 1}" if number else "shortcut"
    place = f"resnet.encoder.stages.{int(stage) - 1}.layers.{int(block) - 1}.{layer}"
    return ref._replace(tensor=f"{place}.{ref.tensor}")


RESNET = Architecture(
    kind="resnet",
    settings=("num_channels", "embedding_size", "hidden_sizes", "depths", "layer_type"),
    fixed={
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        "is_encoder_decoder": False,
    },
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=lambda model, settings, tensors: (np.zeros((1, 32, 32, settings.get("num_channels", 3)), np.float32),),
    inert=("out_features", "out_indices", "stage_names", "tie_word_embeddings"),
    ignored=("num_batches_tracked",),
)
