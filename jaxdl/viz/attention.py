"""Pictures of a Transformer on a text: attention maps, token probabilities, nearest neighbours of embeddings."""

import math
from collections.abc import Sequence

import numpy as np

from jaxdl.viz.figure import FAINT, INK, Picture, pixel_axes, render, shorten, write

_CELL, _GAP, _TOP, _LEFT = 150, 14, 40, 70
_NAMED = 24  # maximum number of tokens whose names fit beside a map


def attention_page(weights: Sequence[np.ndarray], tokens: Sequence[str]) -> Picture:
    """Draws the attention weights of each head, one row per layer: queries from top to bottom, keys left to right.

    Args:
      weights: Attention weights [heads, n, n] of each layer, of which the first 12 heads are drawn.
      tokens: [n] texts.
    """
    if not len(weights):
        raise ValueError("attention_page needs at least one layer")
    columns = min(12, max(len(layer) for layer in weights))
    side = max(_CELL, min(320, 11 * len(tokens))) if len(tokens) <= _NAMED else _CELL
    names = side - 20 if len(tokens) <= _NAMED else 0
    width = _LEFT + names // 2 + columns * (side + _GAP)
    axes = pixel_axes(width, _TOP + len(weights) * (side + _GAP) + names // 2)
    left = _LEFT + names // 2
    for row, layer in enumerate(weights):
        top = _TOP + row * (side + _GAP)
        axes.text(8, top + 14, f"layer {row + 1}", fontsize=9, color=FAINT)
        for head, attention in enumerate(layer[:columns]):
            x = left + head * (side + _GAP)
            if not row:
                axes.text(x, _TOP - 10, f"head {head + 1}", fontsize=9, color=FAINT)
            axes.imshow(
                np.sqrt(np.asarray(attention)),  # the root makes small weights visible
                cmap="Blues",
                vmin=0,
                vmax=1,
                extent=(x, x + side, top + side, top),
                aspect="auto",
                interpolation="nearest",
            )
    if names:
        cell, top = side / len(tokens), _TOP + (len(weights) - 1) * (side + _GAP)
        for place, token in enumerate(tokens):
            text = shorten(_visible(token), 12)
            y = top + (place + 0.5) * cell
            write(axes, text, left - 4, y, 7, align="right")
            write(axes, text, left + (place + 0.5) * cell, top + side + 4, 7, INK, "center", "top", rotation=90)
    return render(axes)


def probability_page(tokens: Sequence[str], probabilities: Sequence[float]) -> Picture:
    """Draws a text whose less probable tokens have a darker background.

    Args:
      tokens: [n] texts.
      probabilities: [n] probabilities of the tokens given those before them. NaN: unknown.
    """
    if not len(tokens):
        raise ValueError("probability_page needs at least one token")
    letter, line, width = 8.4, 34, 900
    places, x, y = [], 12.0, 50.0
    for token in tokens:
        size = letter * max(1, len(_visible(token)))
        if x + size > width - 12:
            x, y = 12.0, y + line
        places.append((x, y, size))
        x += size
        if "\n" in token:
            x, y = 12.0, y + line
    axes = pixel_axes(width, int(y + line))
    known = [p for p in probabilities if math.isfinite(p)]
    nats = -float(np.mean(np.log(np.maximum(known, 1e-30)))) if known else math.nan
    axes.text(12, 22, f"{nats:.3f} nats per token; darker tokens are less probable", fontsize=9, color=FAINT)
    for token, chance, (x, y, size) in zip(tokens, probabilities, places):
        if math.isfinite(chance):
            surprise = min(1.0, -math.log(max(chance, 1e-30)) / 8.0)
            ground = (1.0, 1.0 - 0.65 * surprise, 1.0 - 0.85 * surprise)
            axes.fill_between([x, x + size], y - 16, y + 8, color=ground, linewidth=0)
        axes.text(x, y, _visible(token), fontsize=10, color=INK, family="monospace", parse_math=False)
    return render(axes)


def neighbour_page(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> Picture:
    """Draws a table of tokens and their nearest neighbours by cosine similarity.

    Args:
      rows: (token, [(neighbour, cosine), ...]), of which the first 20 are drawn.
    """
    if not len(rows):
        raise ValueError("neighbour_page needs at least one token")
    rows = rows[:20]
    axes = pixel_axes(900, 24 * len(rows) + 20)
    for number, (token, others) in enumerate(rows):
        y = 24 * number + 26
        axes.text(12, y, shorten(_visible(token), 16), fontsize=10, color=INK, weight="bold", parse_math=False)
        text = "   ".join(f"{_visible(other)} {cosine:.2f}" for other, cosine in others)
        axes.text(170, y, shorten(text, 95), fontsize=10, color=INK, parse_math=False)
    return render(axes)


def neighbours(vectors: np.ndarray, token: int, count: int = 6, first: int = 4) -> list[tuple[int, float]]:
    """Returns the nearest neighbours of a token by cosine similarity, as (token, cosine) pairs.

    Args:
      vectors: [vocabulary, features], embeddings.
      token: The token.
      count: Number of neighbours.
      first: Smallest id of a token that is not special.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    cosine = unit @ unit[token]
    cosine[:first] = -np.inf
    cosine[token] = -np.inf
    return [(int(other), float(cosine[other])) for other in np.argsort(-cosine)[:count]]


def _visible(token: str) -> str:
    return token.replace("\n", "⏎").replace(" ", "·") or "·"
