"""Grids of classified images and confusion matrices."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxdl.viz.figure import (
    FAINT,
    FRAME,
    INK,
    WRONG,
    Picture,
    class_names,
    draw_frame,
    image_grid,
    new_figure,
    render,
    shorten,
    show_image,
    write,
)
from jaxdl.viz.language import labelled_texts, text_of
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Pixels of an image's box, the gap around it, and the two lines of the caption.
_BOX, _GAP, _CAPTION, _COLUMNS, _SHOWN = 140, 8, 42, 6, 24
# Up to this many classes a confusion matrix has a number in each cell.
_NUMBERED = 20
# More cells than this in a row would be narrower than a pixel.
_CELLS = 500
# Pixels that a letter is wide, for each point of its size.
_LETTER = 0.86


def prediction_grid(
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray | None,
    predictions: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    names: Sequence[str],
) -> Picture:
    """Draws images with predicted class and probability; mistakes have a frame and a cross.

    Args:
      images: [n, height, width, 1 or 3], uint8, or float in [0, 1]. The first 24 are drawn.
      labels: [n] true classes. None if unknown.
      predictions, probabilities: [n] predicted classes, and their probabilities.
    """
    box_height = int(np.clip(round(_BOX * images.shape[1] / images.shape[2]), _BOX // 2, 2 * _BOX))
    axes, corners = image_grid(min(len(images), _SHOWN), _COLUMNS, _BOX, box_height, _GAP, caption=_CAPTION)
    known = [*np.asarray(predictions), *(() if labels is None else np.asarray(labels))]
    names = class_names(names, max(len(names), int(max(known)) + 1))
    for index, (left, top) in enumerate(corners):
        show_image(axes, images[index], left, top, _BOX, box_height)
        wrong = labels is not None and int(labels[index]) != int(predictions[index])
        draw_frame(axes, left, top, _BOX, box_height, **({"color": WRONG, "linewidth": 3.0} if wrong else {}))
        percent = f"{100 * float(probabilities[index]):.0f}%"
        cross = "✗ " if wrong else ""
        name = shorten(names[int(predictions[index])], 16 - len(percent) - len(cross))
        lines = [(f"{cross}{name} · {percent}", WRONG if wrong else INK)]
        if labels is not None and wrong:
            lines.append((f"true: {shorten(names[int(labels[index])], 13)}", INK))
        for line, (text, color) in enumerate(lines):
            x, y = left + _BOX / 2, top + box_height + 6 + 17 * line
            write(axes, text, x, y, color=color, align="center", vertical="top")
    return render(axes)


def confusion_matrix(shares: np.ndarray, names: Sequence[str]) -> Picture:
    """Draws a confusion matrix in percent of each true class, and the frequent mistakes.

    Up to 20 classes cells contain numbers; beyond 500 a cell is the maximum of a block of classes. A class without
    examples has a gray row.

    Args:
      shares: [classes, classes], counts or shares of examples by true and predicted class.

    Raises:
      ValueError: A matrix that is not square.
    """
    shares = np.asarray(shares, np.float64)
    if shares.ndim != 2 or shares.shape[0] != shares.shape[1]:
        raise ValueError(f"confusion_matrix: shares has shape {list(shares.shape)}; expected [classes, classes]")
    classes = len(shares)
    names = class_names(names, classes)
    totals = shares.sum(axis=1, keepdims=True)
    rates = np.divide(shares, totals, out=np.full_like(shares, np.nan), where=totals > 0)
    height = int(np.clip(260 + 50 * classes, 420, 860))
    width = height + 320
    figure = new_figure(width, height)
    # Margins from the lengths of the names: measuring them by drawing takes longer than the rest.
    figure.set_layout_engine("none")
    letters = max(map(len, _tick_names(names, classes)[1]))
    side = 42 + math.ceil(letters * _LETTER * _tick_size(classes))
    bottom = 48 if letters <= 3 else side + 6 if classes > _NUMBERED else 56 + round(0.72 * (side - 42))
    top = height - 40
    matrix = figure.add_axes((side / width, bottom / height, (width - 300 - side) / width, (top - bottom) / height))
    mistakes = figure.add_axes(((width - 285) / width, 24 / height, 280 / width, (top - 24) / height))
    _draw_matrix(matrix, rates, names)
    _list_mistakes(mistakes, rates, names, lines=min(12, height // 60))
    return render(figure)


def _draw_matrix(axes: "Axes", rates: np.ndarray, names: Sequence[str]) -> None:
    import matplotlib
    from matplotlib.colors import PowerNorm

    classes = len(rates)
    block = math.ceil(classes / _CELLS)
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#E8EAED")
    # A power below 1, so that mistakes of a few percent are visible beside a diagonal near 100%.
    norm = PowerNorm(0.5, 0.0, 1.0)
    extent = (-0.5, classes - 0.5, classes - 0.5, -0.5)
    axes.imshow(_blocks(rates, block), cmap=colors, norm=norm, interpolation="nearest", aspect="auto", extent=extent)
    ticks, labels = _tick_names(names, classes)
    size = _tick_size(classes)
    axes.set_xticks(ticks, labels, fontsize=size, color=INK, parse_math=False)
    axes.set_yticks(ticks, labels, fontsize=size, color=INK, parse_math=False)
    for label in axes.get_xticklabels():
        if max(map(len, labels)) <= 3:
            continue
        if classes > _NUMBERED:
            label.set(rotation=90)
        else:
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0 if len(ticks) == classes else 2, color=FAINT)
    axes.set_xlabel("predicted", fontsize=11, color=FAINT)
    axes.set_ylabel("true", fontsize=11, color=FAINT)
    blocks = f", {block} by {block} to a cell" if block > 1 else ""
    axes.set_title(
        f"Confusion matrix, % of each true class ({classes} classes{blocks})", fontsize=12, color=INK, pad=10
    )
    axes.spines[:].set_edgecolor(FRAME)
    if classes <= _NUMBERED:
        _write_numbers(axes, rates)


def _tick_names(names: Sequence[str], classes: int) -> tuple[list[int], list[str]]:
    """Returns the classes with a tick, at most 40, and their names."""
    ticks = list(range(0, classes, 1 if classes <= 40 else math.ceil(classes / 25)))
    return ticks, [shorten(names[tick], 20) for tick in ticks]


def _tick_size(classes: int) -> float:
    return 9.5 if classes <= _NUMBERED else 7.5


def _write_numbers(axes: "Axes", rates: np.ndarray) -> None:
    size = 9 if len(rates) <= 12 else 7
    for (row, column), rate in np.ndenumerate(rates):
        if math.isnan(rate):
            continue
        percent = 100 * rate
        text = "0" if rate == 0 else f"{percent:.1f}" if percent < 99.95 else "100"
        color = "white" if percent > 35 else "#9AA0A6" if percent < 0.05 else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color, parse_math=False)


def _blocks(rates: np.ndarray, block: int) -> np.ndarray:
    """Returns the maximum of each block of cells; resampling would drop mistakes."""
    if block == 1:
        return rates
    short = -len(rates) % block
    padded = np.pad(rates, (0, short), constant_values=np.nan)
    size = len(padded) // block
    maxima = np.where(np.isnan(padded), -np.inf, padded).reshape(size, block, size, block).max(axis=(1, 3))
    return np.where(np.isinf(maxima), np.nan, maxima)


def _list_mistakes(axes: "Axes", rates: np.ndarray, names: Sequence[str], lines: int) -> None:
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    wrong = np.nan_to_num(rates)
    np.fill_diagonal(wrong, 0.0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:lines]
    pairs = [divmod(int(flat), len(rates)) for flat in order if wrong.flat[flat] > 0]
    title = "Most frequent mistakes" if pairs else "No mistakes" if np.isfinite(rates).any() else "No examples"
    axes.text(0, 1, title, fontsize=11, color=INK, va="top")
    for line, (row, column) in enumerate(pairs):
        # The baseline of a text of two lines is that of its second line, so the percentage has two lines, too.
        height = 0.92 - 0.92 / lines * (line + 0.55)
        style = {"va": "baseline", "fontsize": 9.5, "linespacing": 1.25, "parse_math": False}
        axes.text(0, height, f"{100 * wrong[row, column]:.1f}%\n ", color=WRONG, **style)
        axes.text(0.22, height, f"{shorten(names[row], 22)}\n→ {shorten(names[column], 20)}", color=INK, **style)


class ClassificationPresentation(Presentation):
    """Presentation of image classification."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `predictions`, up to 24 images with classes, and the `confusion` matrix."""
        shown = valid_rows(batch, _SHOWN)
        examples, predicted = take(batch, shown), take(outputs, shown)
        grid = prediction_grid(
            examples["image"],
            examples.get("label"),
            predicted["label"],
            predicted["probability"],
            names.get("label", ()),
        )
        return {"predictions": grid, **confusion_pictures(metrics, names.get("label", ()))}


def confusion_pictures(metrics: Features, names: Sequence[str]) -> Pictures:
    """Returns the picture `confusion` if the evaluation computed the matrix."""
    return {"confusion": confusion_matrix(metrics["confusion"], names)} if "confusion" in metrics else {}


class SequenceClassificationPresentation(Presentation):
    """Presentation of sequence classification."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `predictions`, up to 16 texts with classes, and the `confusion` matrix."""
        pictures = confusion_pictures(metrics, names.get("label", ()))
        if "tokens" in batch:
            shown = valid_rows(batch)
            examples, predicted = take(batch, shown), take(outputs, shown)
            lengths = examples.get("tokens_length", [None] * len(shown))
            pictures["predictions"] = labelled_texts(
                [text_of(ids[:length], names.get("tokens")) for ids, length in zip(examples["tokens"], lengths)],
                examples.get("label"),
                predicted["label"],
                predicted["probability"],
                names.get("label", ()),
            )
        return pictures
