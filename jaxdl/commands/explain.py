"""`launch.py explain`: what in the user's own images a trained classifier's answer rests on."""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.image.files import find_images, read_images
from jaxdl.errors import UserError, nearest
from jaxdl.runs.files import stems, write_errors, write_png
from jaxdl.runs.restore import load_trained
from jaxdl.viz import explanation, saliency
from jaxdl.viz.saliency import Layer

TOGETHER = 16  # images that are computed at once, at most
STEPS = 512  # of integrated gradients
ROWS = 24  # layers on a page of activations, at most
NAMED = 50  # with more classes than this, a mistake does not name them all


def run(
    path: str,
    files: Sequence[str],
    step: int | None = None,
    layer: str | None = None,
    target: str | None = None,
    output: str | None = None,
) -> list[Path]:
    """Explains a classifier's answers for image files, and prints the paths of the pictures.

    Writes `<step>_<file stem>_saliency.png` (Grad-CAM, integrated gradients, probabilities) and
    `<step>_<file stem>_activations.png` for each file, and `<step>_filters.png` where the model has a convolution.

    Args:
      path: the run folder.
      files: image files or folders of them; brought to the size and channels that the model was trained on.
      step: the checkpoint; None for the newest.
      layer: that Grad-CAM looks at; None for the last one that is a map of the image.
      target: the class to explain, by name or number; None for the predicted one.
      output: the folder to write into; None for RUN/explanations.

    Returns:
      the pictures' paths.

    Raises:
      UserError: a run or file that cannot be read, a model that is no classifier of images, an unknown layer or class.
    """
    trained = load_trained(path, step)
    logits, spec = trained.experiment.task.logits, trained.record["batch"]
    if logits is None or "image" not in spec:
        raise UserError(f"{path} is no classifier of images: explain works on tasks that set Task.logits")
    found = find_images(files)
    images = read_images(found, tuple(spec["image"][0]))
    # One device, no mesh: a few images need no more.
    state = jax.device_get(trained.state.evaluated)
    size = min(len(images), TOGETHER)
    network = _outline(logits, state, (size, *images.shape[1:]), layer)
    names = trained.names.get("label", ())
    number = -1 if target is None else _class_number(target, names, network.classes)
    folder = Path(output).expanduser() if output else Path(path) / "explanations"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    step = int(trained.state.step)
    written: list[Path] = []
    if network.kernel is not None:
        name, kernel = network.kernel
        written.append(write_png(folder / f"{step}_filters.png", explanation.filter_page(np.asarray(kernel), name)))
    compute = jax.jit(functools.partial(_explain, logits, network))
    shown_as = stems(found)
    for start in range(0, len(images), size):
        shown = images[start : start + size]
        part = np.zeros((size, *images.shape[1:]), np.float32)
        part[: len(shown)] = shown
        results = jax.device_get(compute(*state, part, np.full(size, number, np.int32)))
        for row, image in enumerate(shown):
            stem, title = shown_as[start + row], found[start + row].name
            pages = _pages(image, jax.tree.map(lambda array, row=row: array[row], results), network, names, title)
            written += [write_png(folder / f"{step}_{stem}_{page}.png", picture) for page, picture in pages.items()]
    print("".join(f"{picture}\n" for picture in written), end="")
    return written


class _Network(NamedTuple):
    """
    Attributes:
      classes: how many the model tells apart.
      layer: that Grad-CAM looks at; None where there is none.
      rows: layers on the page of activations.
      total: layers that there are.
      kernel: name and [height, width, channels in, channels out] of the first convolution.
    """

    classes: int
    layer: Layer | None
    rows: list[Layer]
    total: int
    kernel: tuple[str, Any] | None


def _outline(logits: Callable[..., Any], state: tuple[Any, Any], shape: tuple[int, ...], layer: str | None) -> _Network:
    """What there is to look at in a model, by its shapes alone.

    Args:
      shape: (batch, height, width, channels).
    """
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    classifier = functools.partial(logits, *state)
    found = saliency.layers(classifier, image)
    maps = saliency.image_layers(found, shape[1:])
    return _Network(
        classes=jax.eval_shape(classifier, image).shape[-1],
        layer=saliency.choose_layer(found, shape[1:], layer),
        rows=saliency.outline(maps, ROWS),
        total=len(maps),
        kernel=saliency.first_kernel(classifier, state[0], image),
    )


def _explain(
    logits: Callable[..., Any], network: _Network, params: Any, variables: Any, image: jax.Array, target: jax.Array
) -> dict[str, Any]:
    """All that the pages show, leading axis = batch. A `target` below 0 is the predicted class."""
    classifier = functools.partial(logits, params, variables)
    values = classifier(image)
    target = jnp.where(target < 0, values.argmax(-1), target)
    layer = network.layer
    return {
        "probabilities": jax.nn.softmax(values),
        "target": target,
        "cam": None if layer is None else saliency.grad_cam(classifier, image, target, layer),
        "gradients": saliency.integrated_gradients(classifier, image, target, steps=STEPS),
        "activations": saliency.activations(classifier, image, [row.name for row in network.rows]),
    }


def _pages(
    image: np.ndarray, result: dict[str, Any], network: _Network, names: Sequence[str], title: str
) -> dict[str, np.ndarray]:
    """The pictures of one image by their names; `result` is what `_explain` made of it."""
    layer = network.layer
    shown = f", {len(network.rows)} of {network.total} layers" if len(network.rows) < network.total else ""
    rows = zip(network.rows, result["activations"], strict=True)
    return {
        "saliency": explanation.saliency_page(
            image,
            result["cam"],
            result["gradients"].values,
            float(result["gradients"].difference),
            result["probabilities"],
            int(result["target"]),
            names,
            title=title,
            layer="" if layer is None else f"{layer.name} {list(layer.shape)}",
        ),
        "activations": explanation.activation_page(
            image,
            [(row.name, row.shape, one.mean, one.strongest, one.channel) for row, one in rows],
            title=title,
            line=f"activations in the order of the forward pass{shown}",
        ),
    }


def _class_number(target: str, names: Sequence[str], classes: int) -> int:
    """The class of that name, else of that number."""
    if target in names:
        return list(names).index(target)
    if re.fullmatch(r"\d+", target) and int(target) < classes:
        return int(target)
    hint = f"; {nearest(target, names)}" if 0 < len(names) <= NAMED else ""
    raise UserError(f"--target={target} is no class; give a name or a number from 0 to {classes - 1}{hint}")
