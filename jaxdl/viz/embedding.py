"""Pictures of embeddings: accuracy by the number of labels, and queries beside their nearest neighbours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.viz.figure import (
    COLORS,
    FRAME,
    INK,
    Picture,
    draw_frame,
    image_grid,
    new_figure,
    plain,
    render,
    shorten,
    show_image,
    write,
)
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation

_BOX, _GAP, _CAPTION = 96, 10, 36
_SMALL, _HEAD = 72, 20
_CLASSIFIERS = {"probe": "linear probe", "knn": "k-NN"}


def few_labels(metrics: Mapping[str, Any]) -> Picture:
    """Plots the accuracies `probe_<n>` and `knn_<n>` against n, the number of labels."""
    figure = new_figure(640, 420)
    axes = figure.subplots()
    plain(axes)
    counts = sorted(int(name.removeprefix("probe_")) for name in metrics if name.startswith("probe_"))
    curves = {prefix: [100 * float(metrics[f"{prefix}_{count}"]) for count in counts] for prefix in _CLASSIFIERS}
    for color, (prefix, values), others in zip(COLORS, curves.items(), reversed(curves.values())):
        axes.plot(counts, values, "o-", color=color, label=_CLASSIFIERS[prefix])
        for count, value, other in zip(counts, values, others):
            above = value > other or (value == other and prefix == "probe")
            style = {"textcoords": "offset points", "ha": "center", "fontsize": 9, "color": color}
            axes.annotate(f"{value:.1f}", (count, value), xytext=(0, 7 if above else -15), **style)
    axes.set_xscale("log")
    axes.margins(0.08, 0.12)
    axes.set_xlabel("number of labels", fontsize=10, color=INK)
    axes.set_ylabel("accuracy, %", fontsize=10, color=INK)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return render(figure)


def query_and_neighbours(
    query: np.ndarray, neighbours: Sequence[np.ndarray], captions: Sequence[Sequence[str]]
) -> Picture:
    """Draws a query, framed, and its nearest neighbours from left to right.

    Args:
      query: uint8 [height, width, 1 or 3].
      neighbours: Images as the query, of any size.
      captions: Up to two lines below each neighbour.
    """
    count = 1 + len(neighbours)
    axes, corners = image_grid(count, count, _BOX, _BOX, _GAP, caption=_CAPTION)
    texts = [["query"], *captions]
    for number, ((left, top), image) in enumerate(zip(corners, (query, *neighbours))):
        show_image(axes, image, left, top, _BOX, _BOX)
        color, width = (COLORS[0], 3.0) if number == 0 else (FRAME, 0.8)
        draw_frame(axes, left, top, _BOX, _BOX, color=color, linewidth=width)
        for line, text in enumerate(texts[number][:2]):
            y = top + _BOX + 6 + 15 * line
            write(axes, shorten(text, 17), left + _BOX / 2, y, 8, align="center", vertical="top")
    return render(axes)


def retrieval_grid(images: np.ndarray, relevant: np.ndarray) -> Picture:
    """Draws queries, each with its nearest neighbours to the right; relevant ones have a thick frame.

    Args:
      images: uint8 [queries, 1 + neighbours, height, width, 1 or 3], each query first.
      relevant: bool [queries, neighbours].
    """
    count, across = images.shape[:2]
    axes, corners = image_grid(count * across, across, _SMALL, _SMALL, _GAP, head=_HEAD)
    for column, text in enumerate(["query", *(f"rank {rank}" for rank in range(1, across))]):
        write(axes, text, corners[column][0] + _SMALL / 2, _HEAD / 2 + _GAP / 2, align="center")
    for number, (left, top) in enumerate(corners):
        query, column = divmod(number, across)
        show_image(axes, images[query, column], left, top, _SMALL, _SMALL)
        found = column > 0 and bool(relevant[query, column - 1])
        color = COLORS[2] if found else INK if column == 0 else FRAME
        draw_frame(axes, left, top, _SMALL, _SMALL, color=color, linewidth=3.5 if found else 0.8)
    return render(axes)


class EmbeddingPresentation(Presentation):
    """Presentation of embeddings."""

    neighbours = staticmethod(query_and_neighbours)

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `few_labels` if the evaluation classified with few labels, `retrieved` if it retrieved images."""
        pictures = {"few_labels": few_labels(metrics)} if any(name.startswith("probe_") for name in metrics) else {}
        if "retrieved" in metrics:
            pictures["retrieved"] = retrieval_grid(metrics["retrieved"], metrics["relevant"])
        return pictures
