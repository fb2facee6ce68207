"""Explains the predictions of a classifier by saliency maps and activations."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl.flags import FlagValues

from jaxdl.commands.flags import STEP, TRUST, Command, Flag
from jaxdl.data.source import stack
from jaxdl.errors import UserError, nearest, printable, warn, write_errors
from jaxdl.home import expanded
from jaxdl.runs.files import stems, write_png
from jaxdl.runs.inference import inputs_of
from jaxdl.runs.places import output_folder
from jaxdl.runs.restore import load_trained
from jaxdl.viz import explanation, saliency
from jaxdl.viz.saliency import Layer

COMMAND = Command(
    name="explain",
    summary="Explains the predictions of a classifier or Transformer with pictures",
    synopsis=(
        "RUN FILE... [--layer=NAME] [--target=CLASS] [--output=DIR] [--step=N] [--trust]",
        "RUN --text=TEXT [--output=DIR] [--step=N]",
    ),
    flags=(
        Flag("layer", "Layer of Grad-CAM. By default the last one with a spatial map.", value="NAME"),
        Flag("target", "Class to explain, by name or number. By default the predicted class.", value="CLASS"),
        Flag("text", "Text for the attention maps of a Transformer. Repeatable.", value="TEXT", default=()),
        Flag("output", "Folder of the pictures. By default RUN/explanations.", value="DIR", instead=("workdir",)),
        STEP,
        TRUST,
    ),
    example="jaxdl explain runs/digits photo.png --target=3",
)

BATCH = 16  # largest number of images in a batch
STEPS = 512  # of integrated gradients
ROWS = 24  # largest number of layers on a page of activations
NAMED = 50  # largest number of classes that an error message lists


def main(arguments: list[str], flags: FlagValues) -> None:
    path, *files = arguments
    if not flags.text:
        run(path, files, flags.step, flags.layer, flags.target, flags.output)
        return
    if flags.layer or flags.target:
        raise UserError("--layer and --target explain image files; drop them or --text")
    from jaxdl.commands import explain_text

    explain_text.run(path, flags.text, flags.step, flags.output, files)


def run(
    path: str,
    files: Sequence[str],
    step: int | None = None,
    layer: str | None = None,
    target: str | None = None,
    output: str | None = None,
) -> list[Path]:
    """Explains a classifier's predictions for image files and prints the paths of the pictures.

    Writes `<step>_<file stem>_saliency.png` (Grad-CAM, integrated gradients, probabilities) and
    `<step>_<file stem>_activations.png` for each file, and `<step>_filters.png` if the model has a convolution.

    Args:
      path: Run folder.
      files: Image files or folders of them, preprocessed as in evaluation.
      step: Checkpoint. None: the one of `Experiment.select`.
      layer: Layer of Grad-CAM. None: the last one with a spatial map.
      target: Class to explain, by name or number. None: the predicted class.
      output: Folder to write into. None: RUN/explanations.

    Returns:
      The paths of the pictures.

    Raises:
      UserError: A run or file that cannot be read, a model that is not an image classifier, or an unknown layer or
        class.
    """
    trained = load_trained(path, step)
    logits, spec = trained.task.logits, trained.record["batch"]
    if logits is None or "image" not in spec:
        raise UserError(f"{path} is not an image classifier; explain needs a task that sets Task.logits")
    examples = inputs_of(trained, path).read(files, ())
    paths = [Path(one.name) for one in examples]
    images = stack([{"image": one.example["image"]} for one in examples])["image"]
    # One device without a mesh is enough for a few images.
    state = jax.device_get(trained.state.evaluated)
    network = _outline(logits, state, (min(len(images), BATCH), *images.shape[1:]), layer)
    names = trained.names.get("label", ())
    number = -1 if target is None else _class_number(target, names, network.classes)
    folder = expanded(output) if output else output_folder(path, "explanations")
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    step = int(trained.state.step)
    pictures: dict[str, np.ndarray] = {}
    if network.kernel is not None:
        name, kernel = network.kernel
        pictures["filters"] = explanation.filter_page(np.asarray(kernel), name)
    results = _explanations(logits, network, state, images, number)
    for stem, file, image, result in zip(stems(paths), paths, images, results):
        title = printable(file.name)  # for Matplotlib
        _warn_of_zeros(title, image, result)
        pages = _pages(image, result, network, names, title)
        pictures |= {f"{stem}_{page}": picture for page, picture in pages.items()}
    command = "explain" if output else ""
    written = [write_png(folder / f"{step}_{name}.png", picture, command) for name, picture in pictures.items()]
    print("".join(f"{picture}\n" for picture in written), end="")
    return written


def _explanations(
    logits: Callable[..., Any], network: "_Network", state: tuple[Any, Any], images: np.ndarray, target: int
) -> Iterator[dict[str, Any]]:
    """Yields the results of `_explain` for each image, computed in batches of up to 16."""
    compute, size = jax.jit(functools.partial(_explain, logits, network)), min(len(images), BATCH)
    for start in range(0, len(images), size):
        part = images[start : start + size]
        padded = np.zeros((size, *images.shape[1:]), np.float32)
        padded[: len(part)] = part
        results = jax.device_get(compute(*state, padded, np.full(size, target, np.int32)))
        for row in range(len(part)):
            yield jax.tree.map(lambda array, row=row: array[row], results)


def _warn_of_zeros(title: str, image: np.ndarray, result: dict[str, Any]) -> None:
    """Prints a warning if the explanation of an image is zero everywhere."""
    if not np.any(result["gradients"].values):
        reason = "the logit does not depend on the image" if image.any() else "the image is black, as is the baseline"
        warn(f"{title}: all integrated gradients are 0: {reason}")
    if result["cam"] is not None and not np.any(result["cam"]):
        warn(f"{title}: Grad-CAM is 0 everywhere: the layer has no evidence for the class")


class _Network(NamedTuple):
    """Layers of a classifier.

    Attributes:
      classes: Number of classes.
      layer: Layer of Grad-CAM; None if the model has no spatial map.
      rows: Layers on the page of activations.
      total: Number of layers with a spatial map.
      kernel: Name and kernel [height, width, channels in, channels out] of the first convolution; None without one.
    """

    classes: int
    layer: Layer | None
    rows: list[Layer]
    total: int
    kernel: tuple[str, Any] | None


def _outline(logits: Callable[..., Any], state: tuple[Any, Any], shape: tuple[int, ...], layer: str | None) -> _Network:
    """Finds the layers of a classifier by abstract evaluation.

    Args:
      shape: (batch, height, width, channels).
    """
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    classifier = functools.partial(logits, *state)
    layers = saliency.layers(classifier, image)
    maps = saliency.image_layers(layers, shape[1:])
    return _Network(
        classes=jax.eval_shape(classifier, image).shape[-1],
        layer=saliency.choose_layer(layers, shape[1:], layer),
        rows=saliency.outline(maps, ROWS),
        total=len(maps),
        kernel=saliency.first_kernel(classifier, state[0], image),
    )


def _explain(
    logits: Callable[..., Any], network: _Network, params: Any, variables: Any, image: jax.Array, target: jax.Array
) -> dict[str, Any]:
    """Returns the data of the pages, leading axis = batch. A `target` below 0 is the predicted class."""
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
    """Draws the pages of one image from its results of `_explain`."""
    layer = network.layer
    count = f", {len(network.rows)} of {network.total} layers" if len(network.rows) < network.total else ""
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
            line=f"activations in the order of the forward pass{count}",
        ),
    }


def _class_number(target: str, names: Sequence[str], classes: int) -> int:
    """Returns the index of a class, given by name or number."""
    if target in names:
        return list(names).index(target)
    if re.fullmatch(r"\d+", target) and int(target) < classes:
        return int(target)
    hint = f"; {nearest(target, names)}" if 0 < len(names) <= NAMED else ""
    raise UserError(f"--target={target} is not a class; give a name or a number from 0 to {classes - 1}{hint}")
