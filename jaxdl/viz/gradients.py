"""Plots of the gradient norm at each time step (vanishing and exploding gradients)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.viz.figure import COLORS, INK, Picture, message, new_figure, plain, render
from jaxdl.viz.presentation import Features, Names, Pictures, Presentation

_STYLES = ("-", "--", ":", "-.")


def gradient_norms(curves: Mapping[str, Any]) -> Picture:
    """Plots gradient norms against the time step on a logarithmic axis.

    A line has a gap where its norm is zero or not finite.

    Args:
      curves: {name: [time]} norms. Their lengths may differ.

    Returns:
      uint8 [420, 720, 3]; a smaller picture with a message if no norm is positive and finite.

    Raises:
      ValueError: A curve that is not one-dimensional.
    """
    lines = {name: np.asarray(norms, np.float64) for name, norms in curves.items()}
    for name, norms in lines.items():
        if norms.ndim != 1:
            raise ValueError(f"gradient_norms: '{name}' has shape {list(norms.shape)}; expected [time]")
    lines = {name: np.where(np.isfinite(norms) & (norms > 0), norms, np.nan) for name, norms in lines.items()}
    if not any(np.isfinite(norms).any() for norms in lines.values()):
        return message("All gradients are zero or not finite.")
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


class SequenceRegressionPresentation(Presentation):
    """Presentation of sequence regression."""

    def pictures(self, batch: Features, outputs: Features, metrics: Features, names: Names) -> Pictures:
        """Returns `gradient_norm`, the norm at each step, if it was evaluated."""
        if "gradient_norm" not in metrics:
            return {}
        return {"gradient_norm": gradient_norms({"gradient": metrics["gradient_norm"]})}
