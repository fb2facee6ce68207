"""Pages of saliency maps, activations and filters of image classifiers.

`jaxdl.viz.saliency` computes the arrays; all arrays here are numpy arrays.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.viz.figure import (
    COLORS,
    FAINT,
    INK,
    Picture,
    class_names,
    draw_frame,
    message,
    pixel_axes,
    render,
    shorten,
    show_image,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Pixels of a panel, the gap between panels, the page margin, a color bar and its numbers.
_PANEL, _GAP, _MARGIN, _BAR, _BAR_NUMBERS = 264, 24, 20, 12, 52
_HEAT, _SIGNED, _MAGNITUDE = "inferno", "RdBu_r", "viridis"
# Opacity of the heat map, and brightness of black in the image below it, which would hide the map.
_COVER, _BLACK = 0.6, 0.3
# Listed classes, filters on their page, pixels of an activation map.
_CLASSES, _FILTERS, _MAP = 5, 64, 92


def saliency_page(
    image: np.ndarray,
    cam: np.ndarray | None,
    values: np.ndarray,
    difference: float,
    probabilities: np.ndarray,
    target: int,
    names: Sequence[str],
    *,
    title: str,
    layer: str,
) -> Picture:
    """Draws an image, its Grad-CAM, its integrated gradients and the most probable classes.

    Args:
      image: uint8 [height, width, 1, 3 or 4].
      cam: [h', w'], 0 or more, Grad-CAM at any resolution. None if the model has no spatial layer.
      values: [height, width, channels], integrated gradients.
      difference: logit(image) - logit(baseline), the expected sum of `values`.
      probabilities: [classes].
      target: Explained class.
      title: Name of the image.
      layer: Name and shape of the layer of `cam`.
    """
    names = class_names(names, len(probabilities))
    scale = _PANEL / max(image.shape[:2])
    height, width = (max(24, round(scale * size)) for size in image.shape[:2])
    with_bar = _PANEL + _BAR_NUMBERS + _GAP
    lefts = [_MARGIN, _MARGIN + _PANEL + _GAP]
    lefts += [lefts[1] + with_bar, lefts[1] + 2 * with_bar]
    top = 96 if height > 150 else 104
    below = max(top + height, 230)
    axes = pixel_axes(lefts[3] + 250 + _MARGIN, below + 62)
    _head(axes, title, _prediction_text(probabilities, target, names))
    for left, text in zip(lefts, ("Image", "Grad-CAM", "Integrated gradients", "Probability"), strict=True):
        axes.text(left, top - 10, text, fontsize=11, color=INK, va="baseline")
    boxes = [(left + (_PANEL - width) / 2, top, width, height) for left in lefts[:3]]
    show_image(axes, _without_alpha(image), *boxes[0])
    _notes(axes, lefts[0], below, [f"{image.shape[0]} x {image.shape[1]} pixels"])
    target_name = f"'{shorten(names[target], 20)}'"
    if cam is None:
        axes.text(lefts[1], top + 14, "no spatial layer", fontsize=9, color=FAINT, va="top")
    else:
        _draw_cam(axes, image, cam, boxes[1])
        lines = [_shorten_start(layer, 36), f"bright: evidence for {target_name}"]
        _notes(axes, lefts[1], below, lines if cam.max() > 0 else [lines[0], f"no evidence for {target_name}"])
    _draw_values(axes, values, boxes[2])
    total = f"sum {_signed(values.sum())}; logit, image − black: {_signed(difference)}"
    _notes(axes, lefts[2], below, [f"red: evidence for {target_name}, blue: against", total])
    _draw_probabilities(axes, probabilities, target, names, (lefts[3], top))
    return render(axes)


def _prediction_text(probabilities: np.ndarray, target: int, names: Sequence[str]) -> str:
    predicted = int(np.argmax(probabilities))
    text = f"predicted: {shorten(names[predicted], 40)}, {_percent(probabilities[predicted])}"
    if target == predicted:
        return text
    return f"{text}    explained: {shorten(names[target], 40)}, {_percent(probabilities[target])}"


def _percent(probability: float) -> str:
    return f"{100 * float(probability):.1f}%"


def _signed(value: float) -> str:
    return f"{float(value):+.3g}".replace("-", "−")


def _head(axes: "Axes", title: str, line: str) -> None:
    letters = int((axes.get_xlim()[1] - 2 * _MARGIN) / 11.5)
    write(axes, shorten(title, letters), _MARGIN, 22, 13)
    write(axes, line, _MARGIN, 47, 11, FAINT)


def _notes(axes: "Axes", left: float, top: float, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        write(axes, line, left, top + 12 + 18 * number, color=FAINT, vertical="top")


def _without_alpha(image: np.ndarray) -> np.ndarray:
    """Removes the alpha channel."""
    return image[..., :3] if image.shape[-1] > 3 else image


def _draw_cam(axes: "Axes", image: np.ndarray, cam: np.ndarray, box: tuple[float, float, int, int]) -> None:
    """Draws the map, resized to the image, over the image in gray."""
    import matplotlib
    from matplotlib.colors import ListedColormap
    from PIL import Image

    left, top, width, height = box
    gray = _without_alpha(image).astype(np.float32).mean(-1) / 255
    resampling = Image.Resampling.NEAREST if width >= gray.shape[1] else Image.Resampling.BOX
    background = _BLACK + (1 - _BLACK) * np.asarray(Image.fromarray(gray).resize((width, height), resampling))
    high = float(cam.max())
    heat = Image.fromarray(np.asarray(cam / (high or 1.0), np.float32))
    colors = matplotlib.colormaps[_HEAT]
    foreground = colors(np.asarray(heat.resize((width, height), Image.Resampling.BILINEAR)))[..., :3]
    show_image(axes, _COVER * foreground + (1 - _COVER) * background[..., None], left, top, width, height)
    if high == 0:
        return
    # The bar shows the colors over a middle gray.
    bar = ListedColormap(_COVER * colors(np.linspace(0, 1, 256))[:, :3] + (1 - _COVER) * (1 + _BLACK) / 2)
    _draw_bar(axes, bar, left + width + 8, top, height, (0.0, high))


def _draw_values(axes: "Axes", values: np.ndarray, box: tuple[float, float, int, int]) -> None:
    import matplotlib

    left, top, width, height = box
    summed = np.asarray(values, np.float64).sum(-1)
    # Clips outliers, which would otherwise compress the color scale.
    bound = float(np.percentile(np.abs(summed), 99.5)) or float(np.abs(summed).max()) or 1.0
    colors = matplotlib.colormaps[_SIGNED]
    show_image(axes, colors(0.5 + 0.5 * np.clip(summed / bound, -1, 1))[..., :3], left, top, width, height)
    draw_frame(axes, left, top, width, height)
    _draw_bar(axes, colors, left + width + 8, top, height, (-bound, bound), clipped=bound < np.abs(summed).max())


def _draw_bar(
    axes: "Axes",
    colors: "Colormap",
    left: float,
    top: float,
    height: float,
    ends: tuple[float, float],
    *,
    clipped: bool = False,
) -> None:
    """Draws a color bar, labeled at its ends and at 0 if in between."""
    low, high = ends
    gradient = colors(np.linspace(1, 0, 256))[:, None, :3]
    axes.imshow(gradient, extent=(left, left + _BAR, top + height, top), aspect="auto", interpolation="bilinear")
    draw_frame(axes, left, top, _BAR, height)
    marks = [(top, high, "top"), (top + height, low, "bottom")]
    if low < 0 < high and height > 60:
        marks.insert(1, (top + height * high / (high - low), 0.0, "center"))
    for y, value, align in marks:
        sign = "" if value == 0 or not clipped else "≥" if value > 0 else "≤"
        axes.text(left + _BAR + 4, y, sign + _number(value), fontsize=8.5, color=FAINT, va=align)


def _number(value: float) -> str:
    """Formats two significant digits in at most six characters."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        digits = max(0, 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}".replace("-", "−")
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def _draw_probabilities(
    axes: "Axes", probabilities: np.ndarray, target: int, names: Sequence[str], corner: tuple[float, float]
) -> None:
    """Draws the most probable classes, and the explained one if it is not among them."""
    from matplotlib.patches import Rectangle

    left, top = corner
    listed = [int(index) for index in np.argsort(-probabilities, kind="stable")[:_CLASSES]]
    if target not in listed:
        listed = [*listed[: _CLASSES - 1], target]
    for line, index in enumerate(listed):
        y = top + 8 + 27 * line
        weight = "bold" if index == target else "normal"
        write(axes, shorten(names[index], 16), left, y, 9.5, fontweight=weight)
        length = 60 * float(probabilities[index])
        color = COLORS[1] if index == target else COLORS[0]
        axes.add_patch(Rectangle((left + 138, y - 7), max(length, 1.0), 14, color=color, linewidth=0))
        percent = _percent(probabilities[index])
        axes.text(left + 138 + length + 6, y, percent, fontsize=9, color=FAINT, va="center")
    axes.text(left, top + 8 + 27 * len(listed), "bold: explained class", fontsize=9, color=FAINT, va="center")


def filter_page(kernel: np.ndarray, layer: str) -> Picture:
    """Draws the first 64 filters of a convolution; those of three input channels in color.

    Args:
      kernel: [height, width, channels in, channels out].
    """
    import matplotlib

    rows, columns, inputs, count = kernel.shape
    colored = inputs == 3
    maps = kernel if colored else kernel.mean(2, keepdims=True)
    bound = float(np.abs(maps).max()) or 1.0
    drawn = min(count, _FILTERS)
    across, box = min(8, drawn), 72
    cell, top = box + 26, 84
    width = max(_MARGIN * 2 + across * cell + _BAR_NUMBERS + 20, 620)
    grid_height = math.ceil(drawn / across) * cell
    axes = pixel_axes(width, top + max(grid_height, cell) + _MARGIN)
    description = (
        "red, green, blue" if colored else f"mean of {inputs} input channels" if inputs > 1 else "one input channel"
    )
    first = f", the first {drawn} of {count}" if drawn < count else f", {count}"
    _head(axes, f"Filters of {shorten(layer, 50)}{first}", f"{rows} x {columns}, {description}")
    colors = matplotlib.colormaps[_SIGNED]
    for index in range(drawn):
        left, upper = _MARGIN + index % across * cell, top + index // across * cell
        weights = 0.5 + 0.5 * maps[..., index] / bound
        show_image(axes, weights if colored else colors(weights[..., 0])[..., :3], left, upper, box, box)
        axes.text(left + box / 2, upper + box + 3, str(index), fontsize=8, color=FAINT, ha="center", va="top")
    bar = matplotlib.colormaps["gray"] if colored else colors
    _draw_bar(axes, bar, _MARGIN + across * cell, top, min(grid_height - 26, 220), (-bound, bound))
    return render(axes)


def activation_page(
    image: np.ndarray,
    maps: Sequence[tuple[str, tuple[int, int, int], np.ndarray, np.ndarray, np.ndarray]],
    *,
    title: str,
    line: str,
) -> Picture:
    """Draws the mean and the strongest channels of each layer, with color bars per row.

    Args:
      image: uint8 [height, width, 1, 3 or 4].
      maps: Layers in the order of the forward pass: (name, shape (height, width, channels), mean [h, w], strongest
        channels [h, w, k], their indices [k]).
      title: Name of the image.
      line: Subtitle.

    Returns:
      The picture; a message if `maps` is empty.
    """
    if not maps:
        return message("The model has no spatial layer.")
    columns = max(numbers.shape[0] for *_, numbers in maps)
    aspect = image.shape[0] / image.shape[1]
    height, width = (max(16, round(_MAP * min(1.0, ratio))) for ratio in (aspect, 1 / aspect))
    row, names_width = max(height, 46) + 30, 200
    first = _MARGIN + names_width
    bars = width + 8 + _BAR + _BAR_NUMBERS
    start = first + max(bars + 12, 144)
    top = 84 + max(height, 46)
    across = max(start + columns * (width + 8) + _BAR + _BAR_NUMBERS + _MARGIN, 620)
    axes = pixel_axes(across, top + 44 + row * len(maps))
    _head(axes, title, line)
    show_image(axes, _without_alpha(image), _MARGIN, 68, width, height)
    axes.text(first, top + 24, "mean of channels", fontsize=10, color=INK, va="baseline")
    axes.text(start, top + 24, "strongest channels", fontsize=10, color=INK, va="baseline")
    for number, (name, shape, mean, strongest, numbers) in enumerate(maps):
        upper = top + 36 + number * row
        axes.text(_MARGIN, upper, _shorten_start(name, 25), fontsize=9.5, color=INK, va="top", parse_math=False)
        axes.text(_MARGIN, upper + 18, str(list(shape)), fontsize=9, color=FAINT, va="top")
        _draw_maps(axes, [mean], first, upper, width, height)
        channels = [strongest[..., index] for index in range(len(numbers))]
        _draw_maps(axes, channels, start, upper, width, height)
        for index, channel in enumerate(numbers):
            x = start + index * (width + 8) + width / 2
            axes.text(x, upper + height + 3, str(int(channel)), fontsize=8, color=FAINT, ha="center", va="top")
    return render(axes)


def _shorten_start(text: str, length: int) -> str:
    """Truncates the start of a path, since paths differ at their ends."""
    return text if len(text) <= length else "…" + text[1 - length :]


def _draw_maps(axes: "Axes", maps: Sequence[np.ndarray], left: float, top: float, width: int, height: int) -> None:
    """Draws maps side by side with one color bar, from 0 or, with negative values, symmetric."""
    import matplotlib

    signed = min(float(values.min()) for values in maps) < 0
    bound = max(float(np.abs(values).max()) for values in maps) or 1.0
    colors: Any = matplotlib.colormaps[_SIGNED if signed else _MAGNITUDE]
    for index, values in enumerate(maps):
        fractions = 0.5 + 0.5 * values / bound if signed else values / bound
        x = left + index * (width + 8)
        show_image(axes, colors(fractions)[..., :3], x, top, width, height)
        draw_frame(axes, x, top, width, height)
    _draw_bar(axes, colors, left + len(maps) * (width + 8), top, max(height, 34), (-bound if signed else 0.0, bound))
