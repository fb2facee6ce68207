"""Pictures of reconstructions, error maps, score histograms and ROC curves."""

from typing import Any

import numpy as np

from jaxdl.viz.figure import (
    COLORS,
    FAINT,
    FRAME,
    INK,
    WRONG,
    Picture,
    draw_frame,
    image_grid,
    message,
    new_figure,
    plain,
    render,
    show_image,
    write,
)
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation, take, valid_rows

# Pixels of an image's box, the gap around it and between pairs, and the caption.
_BOX, _GAP, _CAPTION, _COLUMNS, _SHOWN = 96, 8, 24, 4, 24
_BINS, _POINTS = 60, 1000


def score_histogram(normal: np.ndarray, anomalous: np.ndarray, threshold: float) -> Picture:
    """Plots the distribution of scores of normal and anomalous examples, and the threshold.

    Args:
      normal, anomalous: [examples] scores, 0 or more.
      threshold: Score above which an example is predicted anomalous.
    """
    scores = np.concatenate([normal, anomalous]).astype(np.float64)
    scores = scores[scores > 0]
    if not len(scores):
        return message("No scores above 0")
    edges = np.geomspace(scores.min() / 1.05, scores.max() * 1.05, _BINS + 1)
    figure = new_figure(760, 400)
    axes = figure.subplots()
    plain(axes)
    for kind, values, color in (("normal", normal, COLORS[0]), ("anomalous", anomalous, COLORS[1])):
        if len(values):
            fractions = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
            label = f"{kind} ({len(values):,}; {np.mean(values > threshold):.1%} above)"
            axes.stairs(fractions, edges, fill=True, color=color, alpha=0.45, label=label)
            axes.stairs(fractions, edges, color=color, linewidth=1.2)
    if edges[0] <= threshold <= edges[-1]:
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--", label=f"threshold {threshold:.3g}")
    axes.set_xscale("log")
    axes.set_xlabel("score (mean squared error)", fontsize=10, color=INK)
    axes.set_ylabel("fraction of the class", fontsize=10, color=INK)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return render(figure)


def roc_curve(normal: np.ndarray, anomalous: np.ndarray, threshold: float) -> Picture:
    """Plots the ROC curve on a logarithmic axis and marks the threshold.

    Args:
      normal, anomalous: [examples] scores, at least one each.
      threshold: Threshold to mark.
    """
    normal, anomalous = np.sort(normal), np.sort(anomalous)
    levels = np.unique(np.concatenate([normal, anomalous]))
    levels = levels[np.unique(np.linspace(0, len(levels) - 1, _POINTS).round().astype(int))]
    levels = np.concatenate([[-np.inf], levels])
    false_positives, true_positives = (
        1 - np.searchsorted(part, levels, side="right") / len(part) for part in (normal, anomalous)
    )
    # The area is the probability that an anomalous score exceeds a normal one; ties count half.
    wins = (np.searchsorted(normal, anomalous, "left") + np.searchsorted(normal, anomalous, "right")) / 2
    figure = new_figure(520, 440)
    axes = figure.subplots()
    plain(axes)
    lowest = 0.5 / len(normal)
    axes.plot(np.maximum(false_positives, lowest), true_positives, color=COLORS[0], linewidth=1.8)
    rates = np.geomspace(lowest, 1, 100)
    axes.plot(rates, rates, color=FRAME, linewidth=1.0, linestyle="--")
    chosen = [max(float(np.mean(normal > threshold)), lowest)], [float(np.mean(anomalous > threshold))]
    axes.plot(*chosen, "o", color=COLORS[1], markersize=6, label="at the threshold")
    axes.set(xscale="log", xlim=(lowest, 1), ylim=(0, 1.02))
    axes.set_xlabel("false positive rate (fraction of normal examples)", fontsize=10, color=INK)
    axes.set_ylabel("true positive rate (fraction of anomalous examples)", fontsize=10, color=INK)
    axes.set_title(f"ROC curve, AUROC {wins.mean() / len(normal):.4f}", fontsize=11, color=INK, loc="left")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return render(figure)


def reconstruction_pairs(images: np.ndarray, reconstructions: np.ndarray) -> Picture:
    """Draws images with their reconstructions and the mean squared error of each pair.

    Args:
      images: uint8 [n, height, width, 1 or 3]. The first 24 are drawn.
      reconstructions: uint8 [n, height, width, 1 or 3]. Their size may differ from the images'.
    """
    captions = [""] * len(images)
    if images.shape == reconstructions.shape:
        errors = np.square((images.astype(np.float64) - reconstructions) / 255).mean((1, 2, 3))
        captions = [f"error {error:.4f}" for error in errors]
    return _pairs(images, reconstructions, captions, np.zeros(len(images), bool))


def error_maps(images: np.ndarray, errors: np.ndarray, scores: np.ndarray, anomalous: np.ndarray) -> Picture:
    """Draws images with error maps and scores; predicted anomalies have a frame.

    Args:
      images: uint8 [n, height, width, 1 or 3]. The first 24 are drawn.
      errors: [n, height, width], 0 or more. White is the largest error drawn.
      scores: [n].
      anomalous: bool [n].
    """
    errors = errors[:_SHOWN]
    maps = np.sqrt(errors / max(float(errors.max(initial=0.0)), 1e-30)).astype(np.float32)[..., None]
    return _pairs(images, maps, [f"score {score:.3g}" for score in scores], anomalous)


def _pairs(left: np.ndarray, right: np.ndarray, captions: list[str], framed: np.ndarray) -> np.ndarray:
    axes, corners = image_grid(min(len(left), _SHOWN), _COLUMNS, 2 * _BOX + _GAP, _BOX, _GAP, caption=_CAPTION)
    for index, (x, y) in enumerate(corners):
        show_image(axes, left[index], x, y, _BOX, _BOX)
        show_image(axes, right[index], x + _BOX, y, _BOX, _BOX)
        edge = {"color": WRONG, "linewidth": 2.5} if framed[index] else {}
        draw_frame(axes, x, y, 2 * _BOX, _BOX, **edge)
        color = WRONG if framed[index] else FAINT
        write(axes, captions[index], x + _BOX, y + _BOX + 4, color=color, align="center", vertical="top")
    return render(axes)


class AnomalyPresentation(Presentation):
    """Presentation of anomaly detection."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns histogram `scores`, curve `roc`, and for images the error maps `errors`."""
        pictures = {}
        if "normal_scores" in metrics:
            normal, anomalous = metrics["normal_scores"], metrics["anomalous_scores"]
            pictures["scores"] = score_histogram(normal, anomalous, metrics["threshold"])
            if len(normal) and len(anomalous):
                pictures["roc"] = roc_curve(normal, anomalous, metrics["threshold"])
        if "image" in batch:
            shown = take({"image": batch["image"], **outputs}, valid_rows(batch))
            errors = shown["errors"].mean(-1)
            pictures["errors"] = error_maps(shown["image"], errors, shown["score"], shown["anomalous"])
        return pictures

    def readable(self, example: Features, outputs: Features, names: Names) -> dict[str, Any]:
        """Returns score, prediction and threshold; for tables also `largest_error`, a column."""
        row: dict[str, Any] = {
            "score": float(f"{float(outputs['score']):.6g}"),
            "anomalous": bool(outputs["anomalous"]),
            "threshold": float(f"{float(outputs['threshold']):.6g}"),
        }
        columns, errors = names.get("features", ()), np.asarray(outputs["errors"])
        if "features" in example and len(columns) == errors.size:
            row["largest_error"] = str(columns[int(errors.argmax())])
        return row
