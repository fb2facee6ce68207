"""Where each array of a Transformer of ours is in a checkpoint of Hugging Face's format."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

PyTree = Any


class Place(NamedTuple):
    """A tensor of theirs, or one of the equal `parts` that it has along its last axis, and how it becomes ours.

    `order`: "same"; "transposed", as of dense kernels [out, in]; "squares", a convolution [out, in, side, side] where
    ours has a square's pixels in a row; "rows", with a leading axis of one.
    """

    tensor: str
    order: str = "same"
    part: int = 0
    parts: int = 1
    side: int = 0


class Architecture(NamedTuple):
    """How one kind of checkpoint is read and written.

    Attributes:
      kind: `model_type` in config.json.
      fixed: what config.json may vary in transformers, and our model does not in that shape.
      model: (config, names of the tensors) -> our model.
      config: (our model, its arrays by name) -> config.json, or None if it is no such model.
      place: (model, name of an array such as "stack/block_0/norm1/scale") -> where it is.
      inputs: (model, tensors) -> what the model is called with, for its arrays' shapes.
      prefix: that the tensors of a model with a head have, and those of one without have not.
      body: before the names of our arrays that are of no head, where there may be one.
      ignored: endings of names of tensors that hold nothing of the model.
    """

    kind: str
    fixed: Mapping[str, Any]
    model: Callable[[Mapping[str, Any], frozenset[str]], nn.Module]
    config: Callable[[Any, Mapping[str, Any]], dict[str, Any] | None]
    place: Callable[[Any, str], Place]
    inputs: Callable[[Any, Mapping[str, np.ndarray]], tuple[Any, ...]]
    prefix: str = ""
    body: str = ""
    ignored: tuple[str, ...] = ()


def ours(tensor: np.ndarray, place: Place, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of theirs as our array; its shape is `shape` where the two models are the same."""
    if place.order == "transposed":
        tensor = tensor.T
    elif place.order == "squares" and tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0).reshape(-1, len(tensor))
    elif place.order == "rows" and tensor.shape[:1] == (1,) and len(shape) < tensor.ndim:
        tensor = tensor[0]
    return np.split(tensor, place.parts, axis=-1)[place.part] if place.parts > 1 else tensor


def theirs(array: np.ndarray, place: Place) -> np.ndarray:
    """Our array as their tensor, or the part of it."""
    if place.order == "transposed":
        return array.T
    if place.order == "squares":
        return array.reshape(place.side, place.side, -1, array.shape[-1]).transpose(3, 2, 0, 1)
    return array[None] if place.order == "rows" else array


def same_choices(stack: Any, published: Any) -> bool:
    """Whether a stack made the choices of a published one, whatever its size."""
    names = (
        *("positions", "norm", "order", "norm_bias", "activation", "gated", "use_bias", "window", "scaled", "experts"),
        *("causal", "cross"),
    )
    return all(getattr(stack, name) == getattr(published, name) for name in names)


def two_tokens(model: Any, tensors: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    """What a model that reads tokens is called with."""
    del model, tensors
    return (np.zeros((1, 2), np.int32),)


def full_heads(stack: Any) -> bool:
    """Whether each head has its own keys, and the usual size."""
    return stack.kv_heads in (None, stack.heads) and stack.head_size in (None, stack.features // stack.heads)


def hidden(stack: Any) -> int:
    """Numbers between the two layers of a feed-forward network."""
    return stack.hidden or 4 * stack.features
