"""Aggregation of step reports to the rows of metrics.jsonl."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl.errors import NonFinite
from jaxdl.training.diagnostics import Diagnostics
from jaxdl.training.state import leaf_names
from jaxdl.training.step import Report
from jaxdl.training.task import Task


class Window:
    """Means of training metrics since the last row, of each phase over the steps in which it ran.

    The sums are JSON values and saved in checkpoints, so that a resumed run writes the same rows.
    """

    def __init__(self, sums: Mapping[str, list[float]] | None = None, diagnostics: Diagnostics | None = None):
        """
        Args:
          sums: Sums of a resumed run.
          diagnostics: Division of gradients into modules. None: only their global norm is reported.
        """
        self._diagnostics = diagnostics
        self.sums: dict[str, list[float]] = {name: list(pair) for name, pair in (sums or {}).items()}

    def add(self, report: Report) -> None:
        """Adds a report that was fetched to the host."""
        for phase, figures in report.figures.items():
            if not report.ran[phase]:
                continue
            prefix = f"{phase}/" if len(report.figures) > 1 else ""
            values = {name: float(value) for name, value in figures.items()}
            if self._diagnostics is not None:
                values |= self._diagnostics.gradient_norms(phase, report.squares[phase])
            if not report.finite[phase]:
                values = {"skipped": 1.0}  # nonfinite="skip": the update was dropped
            elif values.pop("spikes_skipped", 0.0):  # the values of a spike would hide those of the other steps
                values = {"spikes_skipped": float(figures["spikes_skipped"])}
            for name, value in values.items():
                pair = self.sums.setdefault(prefix + name, [0.0, 0.0])
                pair[0] += value
                pair[1] += 1

    def take(self) -> dict[str, float]:
        """Returns the means ("skipped" and "spikes_skipped" are counts) and empties the window."""
        means = {n: total if n.endswith("skipped") else total / count for n, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def check_finite(task: Task, params: Mapping[str, Any], step: int, report: Report) -> None:
    """Raises NonFinite at the first loss or gradient that is not finite.

    Args:
      task: Task of the run.
      params: Parameters or their shapes, for the names of leaves.
      step: Step of the report.
      report: Report fetched to the host.

    Raises:
      NonFinite: With the step, the phase and the leaves.
    """
    for phase in task.phases:
        if not report.ran[phase.name] or report.finite[phase.name]:
            continue
        names = [f"{phase.trains}/{name}" for name in leaf_names(params[phase.trains])]
        finite = np.isfinite(report.squares[phase.name])  # False also for a sum of squares above 3e38
        bad = [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]
        loss = float(report.figures[phase.name]["loss"])
        leaves = ", ".join(bad[:8]) + (f" and {len(bad) - 8} more" if len(bad) > 8 else "") or "none"
        raise NonFinite(f"step {step}, phase {phase.name}: loss {loss}; gradients not finite: {leaves}")
