"""Mapping between jaxdl's parameters and tensors of a Hugging Face checkpoint."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

Tensors = Mapping[str, np.ndarray]


class TensorRef(NamedTuple):
    """Tensor of a checkpoint that holds an array.

    Attributes:
      tensor: Name of the tensor.
      order: Conversion of axes. "same"; "transposed", a kernel [out, in]; "convolution", a kernel [out, in, height,
        width]; "patches", such a kernel whose pixels are flattened here; "leading", with an additional leading axis of
        size 1.
      part: Index of the array among `parts`.
      parts: Number of equal parts along the tensor's last axis.
      side: Side of the convolution in pixels, for "patches".
    """

    tensor: str
    order: str = "same"
    part: int = 0
    parts: int = 1
    side: int = 0


class Details(NamedTuple):
    """Properties of an exported model that its module does not determine.

    Attributes:
      names: Class names. None: LABEL_0, LABEL_1, ...
      image_size: (height, width) of the images in pixels. None: they are square.
    """

    names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None


NO_DETAILS = Details()


class Architecture(NamedTuple):
    """Reader and writer of one architecture.

    Attributes:
      kind: `model_type` in config.json.
      settings: Settings in config.json that `model` and `copies` read.
      fixed: Settings that jaxdl's model supports with one value only.
      model: (settings, tensors) -> model.
      config: (model, arrays by name, details) -> config.json, or None for other architectures.
      tensor_ref: (model, array name, such as "stack/block_0/norm1/scale") -> tensor, None if there is none.
      inputs: (model, settings, tensors) -> example inputs, for shape inference.
      inert: Settings without influence on the logits, beside `jaxdl.interop.huggingface.settings.INERT`.
      aliases: {other name of a setting: its first name}.
      copies: (settings, tensors) -> {tensor: the tensor that it must equal, if both are stored}.
      prefix: Prefix of tensor names in models with a head, absent in those without.
      body: Prefix of the arrays outside the head.
      ignored: Suffixes of tensor names without a counterpart.
    """

    kind: str
    settings: tuple[str, ...]
    fixed: Mapping[str, Any]
    model: Callable[[Mapping[str, Any], Tensors], nn.Module]
    config: Callable[[Any, Mapping[str, Any], Details], dict[str, Any] | None]
    tensor_ref: Callable[[Any, str], TensorRef | None]
    inputs: Callable[[Any, Mapping[str, Any], Tensors], tuple[Any, ...]]
    inert: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    copies: Callable[[Mapping[str, Any], Tensors], Mapping[str, str]] = lambda settings, tensors: {}
    prefix: str = ""
    body: str = ""
    ignored: tuple[str, ...] = ()


def from_checkpoint(tensor: np.ndarray, ref: TensorRef, shape: tuple[int, ...]) -> np.ndarray:
    """Converts a tensor of a checkpoint to an array; `shape` is that of the array."""
    if ref.order == "transposed":
        tensor = tensor.T
    elif ref.order in ("convolution", "patches") and tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
        tensor = tensor.reshape(-1, tensor.shape[-1]) if ref.order == "patches" else tensor
    elif ref.order == "leading" and tensor.shape[:1] == (1,) and len(shape) < tensor.ndim:
        tensor = tensor[0]
    return np.split(tensor, ref.parts, axis=-1)[ref.part] if ref.parts > 1 else tensor


def to_checkpoint(array: np.ndarray, ref: TensorRef) -> np.ndarray:
    """Converts an array to a tensor of a checkpoint, or to its part of one."""
    if ref.order == "transposed":
        return array.T
    if ref.order == "patches":
        array = array.reshape(ref.side, ref.side, -1, array.shape[-1])
    if ref.order in ("convolution", "patches"):
        return array.transpose(3, 2, 0, 1)
    return array[None] if ref.order == "leading" else array


def dense_ref(tensor: str, array: str) -> TensorRef:
    """Returns the tensor `tensor`.weight or `tensor`.bias of a dense layer's or normalization's array."""
    if array == "bias":
        return TensorRef(f"{tensor}.bias")
    return TensorRef(f"{tensor}.weight", "transposed" if array == "kernel" else "same")


def same_architecture(stack: Any, published: Any) -> bool:
    """Checks whether a stack has the architecture of a published one, at any size."""
    names = (
        *("positions", "norm", "order", "norm_bias", "activation", "gated", "use_bias", "window", "scaled", "experts"),
        *("causal", "cross"),
    )
    return all(getattr(stack, name) == getattr(published, name) for name in names)


def token_inputs(model: Any, settings: Mapping[str, Any], tensors: Tensors) -> tuple[Any, ...]:
    """Returns example inputs of a model that reads tokens."""
    del model, settings, tensors
    return (np.zeros((1, 2), np.int32),)


def full_heads(stack: Any) -> bool:
    """Checks for multi-head attention (no grouped keys) with the default head size."""
    return stack.kv_heads in (None, stack.heads) and stack.head_size in (None, stack.features // stack.heads)


def hidden(stack: Any) -> int:
    """Returns the width of the hidden layer in the feed-forward network."""
    return stack.hidden or 4 * stack.features
