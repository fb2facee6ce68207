"""How large the gradient of a loss is at each step of a sequence: whether it vanishes or explodes on its way back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.viz.figure import COLORS, INK, message, new_figure, plain, render

_STYLES = ("-", "--", ":", "-.")


def gradient_norms(curves: Mapping[str, Any]) -> np.ndarray:
    """The gradient's norm against the time step, on a logarithmic axis; one line a curve.

    Where a norm is zero, as below what a float32 holds, or not finite, its line has a gap.

    Args:
      curves: {name: [time]} norms, of any lengths.

    Returns:
      uint8 [420, 720, 3]; a small picture that says so if no norm is positive and finite.

    Raises:
      ValueError: a curve is not one-dimensional.
    """
    lines = {name: np.asarray(norms, np.float64) for name, norms in curves.items()}
    for name, norms in lines.items():
        if norms.ndim != 1:
            raise ValueError(f"gradient_norms: '{name}' has shape {list(norms.shape)}, not [time]")
    lines = {name: np.where(np.isfinite(norms) & (norms > 0), norms, np.nan) for name, norms in lines.items()}
    if not any(np.isfinite(norms).any() for norms in lines.values()):
        return message("No gradient reaches the inputs.")
    figure = new_figure(720, 420)
    axes = figure.subplots()
    plain(axes)
    axes.set_yscale("log")
    axes.set_title("Gradient of the loss with respect to each input", fontsize=11, color=INK, loc="left")
    axes.set_xlabel("time step", fontsize=9, color=INK)
    axes.set_ylabel("norm, mean over examples", fontsize=9, color=INK)
    for number, (name, norms) in enumerate(lines.items()):
        style = _STYLES[number // len(COLORS) % len(_STYLES)]
        color = COLORS[number % len(COLORS)]
        # Markers show a step whose neighbours are gaps.
        axes.plot(norms, style, color=color, linewidth=1.6, marker="o", markersize=2.5, label=name)
    if len(lines) > 1:
        figure.legend(loc="outside upper right", ncols=min(len(lines), 4), frameon=False, fontsize=9)
    return render(figure)
