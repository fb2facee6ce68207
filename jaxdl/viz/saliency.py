"""Saliency of image classifiers: Grad-CAM, integrated gradients, activations, first filters.

A classifier is a function `logits(image [batch, height, width, channels]) -> [batch, classes]` around any linen module;
images are float. `flax.linen.intercept_methods` records and perturbs layers, without support by the module. The name
of a layer is its path, "stage1/conv2", with ".METHOD" for methods other than `__call__` and "#2" for the second call.
Modules inside a lifted transformation (`nn.scan`, `nn.remat`, ...) are not recorded; the module around it is.

All functions can be traced: call them inside `jax.jit`, with the parameters as arguments.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.tracers import current_trace
from flax.traverse_util import flatten_dict

from jaxdl.errors import UserError, nearest

Array = jax.Array
Logits = Callable[[Array], Array]


class Layer(NamedTuple):
    """Layer with a spatial output.

    Attributes:
      name: Path; that of the outermost module if several output the same array.
      shape: (height, width, channels).
      dtype: Dtype of the output.
      names: All names of the layer.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: Any
    names: tuple[str, ...]


class Attribution(NamedTuple):
    """Integrated gradients.

    Attributes:
      values: [batch, height, width, channels], attribution of the logit to each value of the image.
      difference: [batch], logit(image) - logit(baseline); the sum of the values up to the integration error.
    """

    values: Array
    difference: Array


class Activation(NamedTuple):
    """Activations of a layer.

    Attributes:
      mean: [batch, height, width], mean over channels.
      strongest: [batch, height, width, k], channels with the largest mean magnitude, descending.
      channel: int32 [batch, k], indices of these channels.
    """

    mean: Array
    strongest: Array
    channel: Array


def layers(logits: Logits, image: Any) -> list[Layer]:
    """Returns the layers with outputs [batch, height, width, channels], by abstract evaluation.

    Layers are in the order in which their calls return.

    Args:
      image: [batch, height, width, channels], an array or `jax.ShapeDtypeStruct`.
    """
    spatial: list[Layer] = []

    def forward(image: Array) -> None:
        with _recorded() as outputs:
            logits(image)
        aliases: dict[int, list[str]] = {}
        for name, output in outputs.items():
            aliases.setdefault(id(output), []).append(name)
        for names in aliases.values():
            output = outputs[names[0]]
            height, width, channels = output.shape[1:]
            # A name with a dot is a method that returns the output of one of its layers.
            name = min(names, key=lambda name: ("." in name, name.count("/")))
            spatial.append(Layer(name, (height, width, channels), output.dtype, tuple(names)))

    jax.eval_shape(forward, image)
    return spatial


@contextlib.contextmanager
def _recorded(perturbations: Mapping[str, Array] | None = None) -> Iterator[dict[str, Array]]:
    """Records outputs {name: [batch, height, width, channels]} of modules called in the context.

    Args:
      perturbations: {name: array added to the output}. None adds nothing.
    """
    outputs: dict[str, Array] = {}
    calls: Counter[str] = Counter()
    outer_trace = current_trace()

    def interceptor(call: Callable[..., Any], arguments: Any, keywords: Any, context: Any) -> Any:
        result = call(*arguments, **keywords)
        # Tracers of a lifted transformation must not leave it.
        if not isinstance(result, jax.Array) or result.ndim != 4 or current_trace() != outer_trace:
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


def image_layers(candidates: Sequence[Layer], shape: Sequence[int]) -> list[Layer]:
    """Returns the layers with the aspect ratio of an image and more than one cell.

    This excludes [batch, tokens, heads, features] of attention.

    Args:
      candidates: Result of `layers`.
      shape: (height, width, ...) of the image.
    """

    def fits(layer: Layer) -> bool:
        height, width, _ = layer.shape
        expected = height * shape[1] / shape[0]
        return height * width > 1 and (abs(width - expected) <= 2 or 2 / 3 <= width / expected <= 3 / 2)

    return [layer for layer in candidates if fits(layer)]


def choose_layer(candidates: Sequence[Layer], shape: Sequence[int], name: str | None = None) -> Layer | None:
    """Returns the layer `name`, or the last one of `image_layers`; None without one.

    Args:
      candidates: Result of `layers`.
      shape: (height, width, ...) of the image.
      name: Name of a layer. None selects the last one.

    Raises:
      UserError: An unknown name. The message lists the layers.
    """
    if name is None:
        return next(reversed(image_layers(candidates, shape)), None)
    for layer in candidates:
        if name in layer.names:
            return layer._replace(name=name)
    raise UserError(
        f"no layer '{name}' with an image-like output; {nearest(name, [layer.name for layer in candidates])}"
    )


def outline(candidates: Sequence[Layer], limit: int) -> list[Layer]:
    """Returns at most `limit` layers in order: up to a path depth that fits, else evenly spaced."""
    depths = {layer.name: layer.name.count("/") for layer in candidates}
    kept = list(candidates)
    for depth in sorted(set(depths.values()), reverse=True):
        kept = [layer for layer in candidates if depths[layer.name] <= depth]
        if len(kept) <= limit:
            return kept
    return [kept[round(index * (len(kept) - 1) / max(limit - 1, 1))] for index in range(min(limit, len(kept)))]


def grad_cam(logits: Logits, image: Array, target: Array, layer: Layer) -> Array:
    """Returns the gradient-weighted class activation map (Grad-CAM).

    Selvaraju et al. 2016, arXiv:1610.02391.

    The ReLU of the sum over channels of the layer's output, weighted by the mean gradient of the target's logit.
    Examples must be independent (no batch statistics of this batch).

    Args:
      target: int [batch], class to explain.
      layer: Layer of `layers`.

    Returns:
      float32 [batch, layer's height, layer's width], 0 or more.
    """

    def score(perturbation: Array) -> tuple[Array, Array]:
        with _recorded({layer.name: perturbation}) as outputs:
            values = logits(image)
        return _target_logits(values, target).sum(), outputs[layer.name]

    zero = jnp.zeros((image.shape[0], *layer.shape), layer.dtype)
    gradient, output = jax.grad(score, has_aux=True)(zero)
    weight = gradient.astype(jnp.float32).mean((1, 2))
    return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", output.astype(jnp.float32), weight))


def integrated_gradients(
    logits: Logits, image: Array, target: Array, *, steps: int = 256, baseline: Array | float = 0.0
) -> Attribution:
    """Returns integrated gradients of the target's logit (Sundararajan et al. 2017, arXiv:1703.01365).

    The integral runs along the straight line from the baseline to the image. Its points are squares of evenly spaced
    values: gradients change faster near the baseline, where biases dominate, so half as many steps suffice. Memory is
    independent of `steps`.

    Args:
      target: int [batch], class to explain.
      steps: Integration steps. At 256 the sum of the values deviates from `difference` by about 1% in ConvNets with max
        pooling, less in smoother models. The error is proportional to 1 / steps.
      baseline: Value or array that broadcasts against `image`. 0: black.
    """
    start = jnp.broadcast_to(jnp.asarray(baseline, image.dtype), image.shape)
    gradient = jax.grad(lambda point: _target_logits(logits(point), target).sum())

    def advance(total: Array, root: Array) -> tuple[Array, None]:
        return total + 2 * root * gradient(start + root**2 * (image - start)), None

    roots = (jnp.arange(steps, dtype=image.dtype) + 0.5) / steps
    total, _ = jax.lax.scan(advance, jnp.zeros_like(image), roots)
    difference = _target_logits(logits(image), target) - _target_logits(logits(start), target)
    return Attribution((image - start) * total / steps, difference)


def _target_logits(values: Array, target: Array) -> Array:
    """Returns logits [batch] of the target classes from [batch, classes]."""
    return jnp.take_along_axis(values, target[:, None], axis=1)[:, 0]


def activations(logits: Logits, image: Array, names: Sequence[str], channels: int = 6) -> list[Activation]:
    """Returns the mean and the strongest channels of each named layer.

    Args:
      names: Names of layers, see `layers`.
      channels: Maximum number of strongest channels.
    """
    with _recorded() as outputs:
        logits(image)
    return [_summary(outputs[name].astype(jnp.float32), channels) for name in names]


def _summary(output: Array, channels: int) -> Activation:
    strength = jnp.abs(output).mean((1, 2))
    _, channel = jax.lax.top_k(strength, min(channels, output.shape[-1]))
    strongest = jnp.take_along_axis(output, channel[:, None, None, :], axis=-1)
    return Activation(output.mean(-1), strongest, channel)


def first_kernel(logits: Logits, params: Mapping[str, Any], image: Any) -> tuple[str, Array] | None:
    """Returns the first 4-D parameter "kernel" in the order of module calls; None without one.

    Args:
      params: {group: tree}, or a module's tree.
      image: [batch, height, width, channels], an array or `jax.ShapeDtypeStruct`.

    Returns:
      (layer name, kernel [height, width, channels in, channels out]).
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
        for kernel_path, kernel in kernels.items():
            # The parameter group may precede the module's path.
            if kernel_path in (path, (*kernel_path[:1], *path)):
                return "/".join(path) or "kernel", kernel
    return None
