"""What in an image a classifier's answer rests on: Grad-CAM, integrated gradients, activations, first filters.

A classifier is a function `logits(image [batch, height, width, channels]) -> [batch, classes]` around any linen module;
images are float, in the unit that the function takes. The module need know nothing of this: its layers are found and
changed from outside, with `flax.linen.intercept_methods`. A layer has the name of its path, "stage1/conv2"; with
".METHOD" where another method than `__call__` was called, and "#2" at the second call. What a lifted transformation
(`nn.scan`, `nn.remat`, ...) traces is not seen; the module around it is.

All functions here can be traced: call them inside `jax.jit`, with the parameters as its arguments.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.tracers import current_trace
from flax.traverse_util import flatten_dict

from jaxdl.errors import UserError, nearest

Array = jax.Array
Logits = Callable[[Array], Array]


class Layer(NamedTuple):
    """A place in the network where there is a map of the image.

    Attributes:
      name: its path; of several modules that put out the same array the outermost.
      shape: (height, width, channels).
      dtype: of the output.
      names: all names of it.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: Any
    names: tuple[str, ...]


class Attribution(NamedTuple):
    """
    Attributes:
      values: [batch, height, width, channels], what each number of the image adds to the logit.
      difference: [batch], logit(image) - logit(baseline), which the values add up to but for the error of the sum.
    """

    values: Array
    difference: Array


class Activation(NamedTuple):
    """
    Attributes:
      mean: [batch, height, width], over the channels.
      strongest: [batch, height, width, k], the channels with the largest mean magnitude, descending.
      channel: int32 [batch, k], their numbers.
    """

    mean: Array
    strongest: Array
    channel: Array


def layers(logits: Logits, image: Any) -> list[Layer]:
    """The layers with an output [batch, height, width, channels], in the order in which they end. Nothing is computed.

    Args:
      image: [batch, height, width, channels], an array or `jax.ShapeDtypeStruct`.
    """
    found: list[Layer] = []

    def forward(image: Array) -> None:
        with _watched() as outputs:
            logits(image)
        same: dict[int, list[str]] = {}
        for name, output in outputs.items():
            same.setdefault(id(output), []).append(name)
        for names in same.values():
            output = outputs[names[0]]
            height, width, channels = output.shape[1:]
            # A name with a dot is a method that hands on what its layers made.
            name = min(names, key=lambda name: ("." in name, name.count("/")))
            found.append(Layer(name, (height, width, channels), output.dtype, tuple(names)))

    jax.eval_shape(forward, image)
    return found


@contextlib.contextmanager
def _watched(perturbations: Mapping[str, Array] | None = None) -> Iterator[dict[str, Array]]:
    """Collects the 4-D outputs of all modules that are called inside it, {name: [batch, height, width, channels]}.

    Args:
      perturbations: added to the outputs of these names.
    """
    outputs: dict[str, Array] = {}
    calls: Counter[str] = Counter()
    outside = current_trace()

    def interceptor(call: Callable[..., Any], arguments: Any, keywords: Any, context: Any) -> Any:
        result = call(*arguments, **keywords)
        # What is traced inside a lifted transformation must not leave it.
        if not isinstance(result, jax.Array) or result.ndim != 4 or current_trace() != outside:
            return result
        if not jnp.issubdtype(result.dtype, jnp.floating):
            return result
        name = "/".join(context.module.path) or type(context.module).__name__
        name += "" if context.method_name == "__call__" else f".{context.method_name}"
        calls[name] += 1
        name += f"#{calls[name]}" if calls[name] > 1 else ""
        if perturbations and name in perturbations:
            result = result + perturbations[name]
        outputs[name] = result
        return result

    with nn.intercept_methods(interceptor):
        yield outputs


def image_layers(found: Sequence[Layer], shape: Sequence[int]) -> list[Layer]:
    """Those layers whose output is a map of an image of (height, width, ...) = `shape`: more than one cell, its aspect.

    So [batch, tokens, heads, features] of an attention, which has four axes too, is none.
    """

    def fits(layer: Layer) -> bool:
        height, width, _ = layer.shape
        expected = height * shape[1] / shape[0]
        return height * width > 1 and (abs(width - expected) <= 2 or 2 / 3 <= width / expected <= 3 / 2)

    return [layer for layer in found if fits(layer)]


def choose_layer(found: Sequence[Layer], shape: Sequence[int], name: str | None = None) -> Layer | None:
    """The layer called `name`, or the last one that is a map of the image; None if there is none.

    Args:
      found: what `layers` found.
      shape: (height, width, ...) of the image.

    Raises:
      UserError: no layer is called `name`; the line tells which there are.
    """
    if name is None:
        return next(reversed(image_layers(found, shape)), None)
    for layer in found:
        if name in layer.names:
            return layer._replace(name=name)
    raise UserError(f"no layer '{name}' with an image-like output; {nearest(name, [layer.name for layer in found])}")


def outline(found: Sequence[Layer], limit: int) -> list[Layer]:
    """At most `limit` layers, in order: down to the depth of path that there is room for, else evenly chosen."""
    depths = {layer.name: layer.name.count("/") for layer in found}
    kept = list(found)
    for depth in sorted(set(depths.values()), reverse=True):
        kept = [layer for layer in found if depths[layer.name] <= depth]
        if len(kept) <= limit:
            return kept
    return [kept[round(index * (len(kept) - 1) / max(limit - 1, 1))] for index in range(min(limit, len(kept)))]


def grad_cam(logits: Logits, image: Array, target: Array, layer: Layer) -> Array:
    """Gradient-weighted class activation map (Selvaraju et al. 2016, arXiv:1610.02391).

    The channels of a layer's output, weighted by the mean gradient of the target's logit, summed; what is negative
    is 0. Examples must not depend on each other (no batch statistics of this batch).

    Args:
      image: [batch, height, width, channels].
      target: int [batch], the class to explain.
      layer: one that `layers` found; its `name` tells which.

    Returns:
      float32 [batch, layer's height, layer's width], at least 0.
    """

    def score(perturbation: Array) -> tuple[Array, Array]:
        with _watched({layer.name: perturbation}) as outputs:
            values = logits(image)
        return _picked(values, target).sum(), outputs[layer.name]

    zero = jnp.zeros((image.shape[0], *layer.shape), layer.dtype)
    gradient, output = jax.grad(score, has_aux=True)(zero)
    weight = gradient.astype(jnp.float32).mean((1, 2))
    return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", output.astype(jnp.float32), weight))


def integrated_gradients(
    logits: Logits,
    image: Array,
    target: Array,
    *,
    steps: int = 256,
    baseline: Literal["black", "mean"] | Array | float = "black",
) -> Attribution:
    """The gradient of the target's logit along the straight line from a baseline to the image, times what it moved.

    Sundararajan et al. 2017, arXiv:1703.01365. The points on the line are the squares of evenly spaced ones: near the
    baseline biases tell more than the image, so gradients change faster there, and half as many steps do as without.
    Memory does not grow with `steps`.

    Args:
      image: [batch, height, width, channels].
      target: int [batch], the class to explain.
      steps: gradients on the way. With 256 the sum of the values is about a per cent off `difference` in ConvNets
        with max pooling, less in smoother ones; the error goes as 1 / steps.
      baseline: "black", "mean" (each image's mean colour), or numbers that broadcast against `image`.
    """
    if isinstance(baseline, str):
        start = jnp.zeros_like(image) if baseline == "black" else image.mean((1, 2), keepdims=True)
    else:
        start = jnp.asarray(baseline, image.dtype)
    start = jnp.broadcast_to(start, image.shape)
    gradient = jax.grad(lambda point: _picked(logits(point), target).sum())

    def advance(total: Array, root: Array) -> tuple[Array, None]:
        return total + 2 * root * gradient(start + root**2 * (image - start)), None

    roots = (jnp.arange(steps, dtype=image.dtype) + 0.5) / steps
    total, _ = jax.lax.scan(advance, jnp.zeros_like(image), roots)
    difference = _picked(logits(image), target) - _picked(logits(start), target)
    return Attribution((image - start) * total / steps, difference)


def _picked(values: Array, target: Array) -> Array:
    """values [batch, classes] of the classes target [batch] -> [batch]."""
    return jnp.take_along_axis(values, target[:, None], axis=1)[:, 0]


def activations(logits: Logits, image: Array, names: Sequence[str], channels: int = 6) -> list[Activation]:
    """Of each named layer the mean map and the strongest channels, at most `channels` of them.

    Args:
      image: [batch, height, width, channels].
      names: among those that `layers` found.
    """
    with _watched() as outputs:
        logits(image)
    return [_summary(outputs[name].astype(jnp.float32), channels) for name in names]


def _summary(output: Array, channels: int) -> Activation:
    strength = jnp.abs(output).mean((1, 2))
    _, channel = jax.lax.top_k(strength, min(channels, output.shape[-1]))
    strongest = jnp.take_along_axis(output, channel[:, None, None, :], axis=-1)
    return Activation(output.mean(-1), strongest, channel)


def first_kernel(logits: Logits, params: Mapping[str, Any], image: Any) -> tuple[str, Array] | None:
    """The first parameter "kernel" with four axes, in the order in which modules are called; None if there is none.

    Args:
      params: {group: tree}, or a module's own tree.
      image: [batch, height, width, channels], an array or `jax.ShapeDtypeStruct`.

    Returns:
      the name of the layer, and the kernel [height, width, channels in, channels out].
    """
    called: list[tuple[str, ...]] = []

    def interceptor(call: Callable[..., Any], arguments: Any, keywords: Any, context: Any) -> Any:
        called.append(tuple(context.module.path))
        return call(*arguments, **keywords)

    with nn.intercept_methods(interceptor):
        jax.eval_shape(lambda image: logits(image), image)
    leaves: dict[tuple[str, ...], Any] = dict(flatten_dict(dict(params)))  # pyright: ignore[reportAssignmentType]
    kernels = {path[:-1]: leaf for path, leaf in leaves.items() if path[-1] == "kernel" and jnp.ndim(leaf) == 4}
    for path in called:
        for place, kernel in kernels.items():
            # A group's name may stand before the module's own path.
            if place in (path, (*place[:1], *path)):
                return "/".join(path) or "kernel", kernel
    return None
