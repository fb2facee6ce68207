"""What a person sees of a run: a progress bar on a terminal, plain lines elsewhere, a table at the end."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO


class Progress:
    """Tells people how a run gets on, on standard output, so that warnings on standard error stay apart.

    On a terminal one bar is redrawn (step, loss, examples/s, time left) and lines scroll above it; anywhere else each
    report is a line of its own, flushed, without colours or control characters. A context manager: leaving it stops
    the bar.

    Args:
      total_steps: the step at which the run ends.
      start: the step it goes on from.
      clock: seconds, monotonic.
      file: where to write; standard output if None.
      console: a rich Console to use instead of one made for `file`.
      shown: False on all but the first process of a distributed run: nothing is written.
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
        from rich.console import Console

        self._console = console or Console(file=file or sys.stdout, highlight=False)
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
        """Says that `step` steps are made. Cheap enough for every step; on a terminal the bar moves."""
        self._step = step
        if self._anchor is None:
            self._anchor = (step, self._clock())  # after the first step, whose time is mostly compiling
        if self._bar is not None:
            self._bar.update(self._row, completed=step, left=self._left())

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Shows a step's training figures, those that a line has room for: up to three losses and the examples/s."""
        self.advance(step)
        names = [*[name for name in figures if name.endswith("loss")][:3], "examples_per_second"]
        shown = {name: figures[name] for name in names if name in figures}
        if self._bar is not None:
            self._bar.update(self._row, figures=_figures(shown))
        elif self._shown:
            parts = [f"step {step}/{self._total}", _figures(shown), self._left()]
            self._print("  ".join(part for part in parts if part))

    def evaluation(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
        """A line with an evaluation's scalars."""
        self.line(f"step {step} {split}  {_figures(figures)}")

    def line(self, text: str) -> None:
        """A line of its own: where a run resumes, what was skipped, where it stopped."""
        if self._shown:
            self._print(text)

    def results(self, result: Mapping[str, Any], pictures: str | Path | None = None) -> None:
        """Ends the bar and shows the results: metric by split, then parameters, time and where the pictures are.

        Args:
          result: what result.json holds: `metrics` {split: {name: value}}; `step`, `parameters`, `seconds`, `goodput`
            are shown if they are there.
          pictures: the folder they are in; None if there are none.
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
            ("parameters", f"{result['parameters']:,}" if "parameters" in result else None),
            ("time", f"{duration(result['seconds'])} ({result['seconds']:.1f} s)" if "seconds" in result else None),
            ("goodput", f"{result['goodput']:.1%}" if _is_finite(result.get("goodput")) else None),
            ("pictures", str(pictures) if pictures is not None else None),
        ]
        if names:
            self._table(rows)
        for name, value in facts:
            if value is not None:
                self._print(f"{name:<10}  {value}")

    def _make_bar(self) -> tuple[Any, Any]:
        from rich.progress import BarColumn, Progress, TextColumn

        # Elastic to narrow terminals: the figures matter more than the bar.
        columns = (
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]}"),
        )
        bar = Progress(*columns, console=self._console, refresh_per_second=4)
        return bar, bar.add_task("", total=self._total, completed=self._start, figures="", left="")

    def _left(self) -> str:
        """The time left, by the pace since the first step of this process: evaluations and saves are part of it."""
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
        # Without wrapping and markup: a line stays a line, and "[test]" stays "[test]".
        self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._console.file.flush()


def duration(seconds: float) -> str:
    """ "1:23", "2:03:04" or "1 d 2:03:04"; "?" for what is not finite."""
    if not math.isfinite(seconds):
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not hours:
        return f"{minute}:{second:02}"
    return (f"{days} d " if days else "") + f"{hour}:{minute:02}:{second:02}"


def number(value: Any) -> str:
    """Four significant digits or more, thousands separated: "0.4320", "12,345", "1.200e-07"; integers in full."""
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return f"{int(value):,}"
    value = float(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if 1e-4 <= abs(value) < 999.95:
        return f"{value:#.4g}"
    return f"{value:,.0f}" if 1 <= abs(value) < 1e9 else f"{value:.3e}"


def _figures(figures: Mapping[str, Any]) -> str:
    shown = []
    for name, value in figures.items():
        if name == "examples_per_second":
            shown.append(f"{number(value)} examples/s")
        elif _is_scalar(value):
            shown.append(f"{name} {number(value)}")
    return "  ".join(shown)


def _cell(value: Any) -> str:
    return number(value) if _is_scalar(value) else ""


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, (str, Mapping, list, tuple)) and getattr(value, "ndim", 0) == 0


def _is_finite(value: Any) -> bool:
    return _is_scalar(value) and math.isfinite(value)
