"""Terminal output of a run: a progress bar or plain lines, and a table of results."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from jaxdl.errors import printable
from jaxdl.streams import console as make_console


class Progress:
    """Reports training progress on standard output; a context manager that stops the bar.

    On a terminal one bar is redrawn (step, loss, examples/s, time left) below the other lines. Elsewhere each report is
    one flushed line, without colors or control characters.

    Args:
      total_steps: Last step of the run.
      start: Step from which the run resumes.
      clock: Monotonic clock, seconds.
      file: Output stream. None: standard output.
      console: rich Console. None: one for `file`.
      shown: Whether anything is printed. False on all but the first process of a distributed run.
    """

    def __init__(
        self,
        total_steps: int,
        start: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        file: TextIO | None = None,
        console: Any = None,
        shown: bool = True,
    ):
        self._console = console or make_console(file or sys.stdout)
        self._total = total_steps
        self._clock = clock
        self._shown = shown
        self._start = self._step = start
        self._anchor: tuple[int, float] | None = None
        self._terminal = shown and self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar, self._row = self._make_bar() if self._terminal else (None, None)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, step: int) -> None:
        """Advances the bar to `step`; cheap enough for every step."""
        self._step = step
        if self._anchor is None:
            self._anchor = (step, self._clock())  # after the first step, which compiles
        if self._bar is not None:
            self._bar.update(self._row, completed=step, left=self._left())

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Prints training metrics of a step: up to three losses and the examples/s."""
        self.advance(step)
        names = [*[name for name in figures if name.endswith("loss")][:3], "examples_per_second"]
        selected = {name: figures[name] for name in names if name in figures}
        if self._bar is not None:
            self._bar.update(self._row, figures=_figures(selected))
        elif self._shown:
            parts = [f"step {step}/{self._total}", _figures(selected), self._left()]
            self._print("  ".join(part for part in parts if part))

    def evaluation(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
        """Prints the scalars of an evaluation."""
        self.line(f"step {step} {split}  {_figures(figures)}")

    def line(self, text: str) -> None:
        """Prints one line of text."""
        if self._shown:
            self._print(text)

    def results(self, result: Mapping[str, Any], pictures: str | Path | None = None) -> None:
        """Stops the bar and prints the results: metrics by split, parameters, time, folder of the pictures.

        Args:
          result: Content of result.json: `metrics` {split: {name: value}} and optionally `step`,
            `selected_step`, `parameters`, `seconds`, `goodput`, `badput`,
            `device_memory_peak`, `spikes_skipped`.
          pictures: Folder of the pictures. None if there are none.
        """
        if self._bar is not None:
            self._bar.stop()
        if not self._shown:
            return
        metrics: Mapping[str, Mapping[str, Any]] = result.get("metrics") or {}
        names = sorted({name for figures in metrics.values() for name, value in figures.items() if _is_scalar(value)})
        rows = [["metric", *metrics]]
        rows += [[name, *(_cell(figures.get(name)) for figures in metrics.values())] for name in names]
        facts = [
            ("steps", f"{result['step']:,}" if "step" in result else None),
            ("selected", f"step {result['selected_step']:,}" if "selected_step" in result else None),
            ("parameters", f"{result['parameters']:,}" if "parameters" in result else None),
            ("time", f"{duration(result['seconds'])} ({result['seconds']:.1f} s)" if "seconds" in result else None),
            ("spikes", f"{result['spikes_skipped']:,} updates skipped" if "spikes_skipped" in result else None),
            ("goodput", goodput(result)),
            ("memory", f"{peak / 1e9:.2f} GB at most" if (peak := result.get("device_memory_peak")) else None),
            ("pictures", str(pictures) if pictures is not None else None),
        ]
        if names:
            self._table(rows)
        for name, value in facts:
            if value is not None:
                self._print(f"{name:<10}  {value}")

    def _make_bar(self) -> tuple[Any, Any]:
        from rich.progress import BarColumn, Progress, TextColumn

        # On narrow terminals the metrics matter more than the bar.
        columns = (
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]}"),
        )
        bar = Progress(*columns, console=self._console, refresh_per_second=4)
        return bar, bar.add_task("", total=self._total, completed=self._start, figures="", left="")

    def _left(self) -> str:
        """Formats the time left, by the pace since the first step of this process, evaluations and saves included."""
        if self._anchor is None or self._step <= self._anchor[0]:
            return ""
        pace = (self._clock() - self._anchor[1]) / (self._step - self._anchor[0])
        return f"{duration(pace * max(0, self._total - self._step))} left"

    def _table(self, rows: list[list[str]]) -> None:
        if self._terminal:
            from rich.table import Table

            table = Table(title="results", title_justify="left")
            for index, name in enumerate(rows[0]):
                table.add_column(name, justify="right" if index else "left")
            for row in rows[1:]:
                table.add_row(*row)
            self._console.print(table)
            return
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))]
            self._print("  ".join(cells).rstrip())

    def _print(self, text: str) -> None:
        # Wrapping would split lines; markup would interpret "[test]".
        self._console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._console.file.flush()


class Labelled:
    """Progress of one of several runs: its lines begin with a label.

    Args:
      progress: Progress of all runs.
      label: Label of the run.
      reports: Whether its training metrics are shown.
    """

    def __init__(self, progress: Progress, label: str, reports: bool):
        self._progress, self._label, self._reports = progress, label, reports

    def advance(self, step: int) -> None:
        if self._reports:
            self._progress.advance(step)

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        if self._reports:
            self._progress.report(step, figures)

    def evaluation(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
        self.line(f"step {step} {split}  {_figures(figures)}")

    def line(self, text: str) -> None:
        self._progress.line(f"{self._label}: {text}")


def duration(seconds: float) -> str:
    """Formats seconds as "1:23", "2:03:04" or "1 d 2:03:04", and nonfinite values as "?"."""
    if not math.isfinite(seconds):
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not hours:
        return f"{minute}:{second:02}"
    return (f"{days} d " if days else "") + f"{hour}:{minute:02}:{second:02}"


def goodput(result: Mapping[str, Any]) -> str | None:
    """Formats the goodput of a run and where the rest of its time went, such as "91.4% (compile 6.1%, save 2.0%)".

    Args:
      result: Content of result.json. Shares below 0.1% are left out.

    Returns:
      The text. None without a finite `goodput`.
    """
    if not _is_finite(result.get("goodput")):
        return None
    seconds = result.get("seconds") or math.inf
    shares = {name.replace("_", "-"): spent / seconds for name, spent in result.get("badput", {}).items()}
    parts = [f"{name} {share:.1%}" for name, share in shares.items() if share >= 0.001]
    return f"{result['goodput']:.1%}" + (f" ({', '.join(parts)})" if parts else "")


def number(value: Any) -> str:
    """Formats a number with four or more significant digits, integers in full: "0.4320", "12,345", "1.200e-07"."""
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return f"{int(value):,}"
    value = float(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if 1e-4 <= abs(value) < 999.95:
        return f"{value:#.4g}"
    return f"{value:,.0f}" if 1 <= abs(value) < 1e9 else f"{value:.3e}"


def _figures(figures: Mapping[str, Any]) -> str:
    parts = []
    for name, value in figures.items():
        if name == "examples_per_second":
            parts.append(f"{number(value)} examples/s")
        elif _is_scalar(value):
            parts.append(f"{name} {number(value)}")
    return "  ".join(parts)


def _cell(value: Any) -> str:
    return number(value) if _is_scalar(value) else ""


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, (str, Mapping, list, tuple)) and getattr(value, "ndim", 0) == 0


def _is_finite(value: Any) -> bool:
    return _is_scalar(value) and math.isfinite(value)
