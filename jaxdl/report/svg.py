"""Plots as inline SVG.

Colors are the CSS classes `c0` to `c6` and `rest`, which `jaxdl.report.style` defines for light and dark mode.
Coordinates are relative integers in quarter pixels: a curve of 300 points takes about 1.5 KB.
"""

import html
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.report.bands import Band
from jaxdl.viz.figure import shorten

HUES = 7
_WIDTH, _HEIGHT = 1600, 1000
_LEFT, _RIGHT, _TOP, _BOTTOM = 190, 1560, 40, 880
_MAX_MARKERS = 40  # longer curves have no markers


class Line(NamedTuple):
    """Curve of a panel.

    Attributes:
      name: Name in the tooltip, such as "2 width=64, train".
      hue: Color index. From `HUES` on, the color shared by the other groups.
      band: Curve.
      split: "train" is a thin line, "test" has ring markers, other evaluations are thick with dots if short.
    """

    name: str
    hue: int
    band: Band
    split: str


class Point(NamedTuple):
    """Run in a scatter plot: argument as text, result, color index and name."""

    argument: str
    value: float
    hue: int
    name: str


class _Scale(NamedTuple):
    """Linear or logarithmic map from values to coordinates."""

    low: float
    high: float
    begin: int
    end: int
    log: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        low, high = self._ends
        with np.errstate(invalid="ignore", divide="ignore"):
            positions = np.log10(values) if self.log else np.asarray(values, float)
        return self.begin + (positions - low) / (high - low) * (self.end - self.begin)

    @property
    def _ends(self) -> tuple[float, float]:
        return (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)

    @property
    def data(self) -> str:
        """Ends of the axis for the page's script, log10 if logarithmic, and 1 if it is."""
        low, high = self._ends
        return f"{low:.6g} {high:.6g} {int(self.log)}"


def curves(
    title: str,
    lines: Sequence[Line],
    last: float,
    log: bool = False,
    first: float = 0.0,
    across: str = "step",
    log_across: bool = False,
) -> str:
    """Returns a panel with a line and a band for each group and split.

    Args:
      title: Accessible name.
      lines: Curves. A lower hue is drawn above a higher one.
      last: Last step of the horizontal axis.
      log: Whether the vertical axis is logarithmic.
      first: First step of the horizontal axis.
      across: Name of the horizontal axis in tooltips.
      log_across: Whether the horizontal axis is logarithmic; it then has margins.
    """
    values = np.concatenate([side[np.isfinite(side)] for line in lines for side in line.band[1:]])
    along = _Scale(first, max(last, first + 1.0), _LEFT, _RIGHT)
    if log_across:
        along = _scale(np.array([first, last]), _LEFT, _RIGHT, log=True)
    up = _scale(values, _BOTTOM, _TOP, log)
    parts = [*_frame(along, up)]
    parts += [_area(line, along, up) for line in lines if line.hue < HUES]
    parts += [_curve(line, along, up) for line in sorted(lines, key=lambda line: (-line.hue, line.split != "train"))]
    return _svg(title, parts, f'data-x="{along.data}" data-y="{up.data}" data-across="{html.escape(across)}"')


def scatter(title: str, points: Sequence[Point]) -> str:
    """Returns a scatter plot of results against an argument, with the mean of each value.

    The argument's axis is logarithmic if its values are positive and span a decade or more, and categorical if one is
    not a number.
    """
    numbers = [number(point.argument) for point in points]
    values = np.array([point.value for point in points])
    up = _scale(values, _BOTTOM, _TOP)
    if None in numbers:
        names = list(dict.fromkeys(point.argument for point in points))
        at = np.array([names.index(point.argument) for point in points], float)
        across = _Scale(-0.5, len(names) - 0.5, _LEFT, _RIGHT)
        stride = -(-len(names) // 12)  # more than 12 names would overlap
        marks = [(float(index), shorten(name, max(4, 52 // len(names)))) for index, name in enumerate(names)][::stride]
    else:
        at = np.array(numbers, float)
        log = bool(at.min() > 0 and at.max() >= 10 * at.min())
        across, marks = _scale(at, _LEFT, _RIGHT, log, margin=0.08), None
    parts = [*_frame(across, up, marks)]
    for position in np.unique(at):
        x, y = _rounded(across(position)), _rounded(up(values[at == position].mean()))
        parts.append(f'<path class="mean" d="M{x - 45} {y}h90"/>')
    for x, y, point in zip(_rounded(across(at)), _rounded(up(values)), points):
        tooltip = html.escape(f"{point.name}: {point.value:.4g}")
        parts.append(f'<circle class="{hue(point.hue)} dot" cx="{x}" cy="{y}" r="18"><title>{tooltip}</title></circle>')
    return _svg(title, parts)


def spread(values: Sequence[float], interval: tuple[float, float] | None, ends: tuple[float, float], index: int) -> str:
    """Returns a strip plot: a dot for each seed and a bar for the interval.

    Args:
      values: Results, one per seed.
      interval: Confidence interval of the mean. None draws none.
      ends: Minimum and maximum over all rows of the table.
      index: Color index.
    """
    across = _scale(np.array(ends), 20, 460, margin=0.0)
    parts = ['<path class="rule" d="M0 32h480"/>']
    if interval is not None:
        low, high = _rounded(across(np.array(interval)))
        parts.append(
            f'<rect class="{hue(index)} bar" x="{low}" y="16" width="{max(high - low, 4)}" height="32" rx="8"/>'
        )
    dots = "".join(f'<circle cx="{x}" cy="32" r="9"/>' for x in _rounded(across(np.array(values))))
    parts.append(f'<g class="{hue(index)} dot">{dots}</g>')
    return f'<svg class="spread" viewBox="0 0 480 64" aria-hidden="true">{"".join(parts)}</svg>'


def hue(index: int) -> str:
    """Returns the CSS class of a color index."""
    return f"c{index}" if index < HUES else "rest"


def number(text: str) -> float | None:
    """Returns the text as a finite number; None if it is not one (True and False included)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ticks(low: float, high: float, log: bool = False) -> list[float]:
    """Returns three to eight tick values in [low, high]: 1, 2 or 5 times powers of ten."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5)):
            candidates = [
                f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p * (1 + 1e-9) <= high * (1 + 2e-9)
            ]
            if len(candidates) > 2:
                return candidates[:: -(-len(candidates) // 8)]
    size = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(step for step in (size, 2 * size, 5 * size, 10 * size) if (high - low) / step <= 5)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """Returns a tick label: "20k", "0.05", "3e-4"."""
    size = abs(value)
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= 10 * unit or (size >= unit and sign != "k"):
            return f"{value / unit:.4g}{sign}"
    if size and size < 1e-3:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"


def _scale(values: np.ndarray, begin: int, end: int, log: bool = False, margin: float = 0.05) -> _Scale:
    """Returns a scale over all values with a margin at both ends."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if log:
        room = (high / low) ** margin if high > low else 2.0
        return _Scale(low / room, high * room, begin, end, True)
    room = margin * (high - low) if high > low else abs(high) / 10 or 1.0
    return _Scale(low - room, high + room, begin, end)


def _frame(across: _Scale, up: _Scale, marks: Sequence[tuple[float, str]] | None = None) -> Iterable[str]:
    """Yields the grid and tick labels; `marks` are horizontal ticks, by default numeric."""
    heights = ticks(up.low, up.high, up.log)
    lines = "".join(f"M{_LEFT} {_rounded(up(np.array(tick)))}H{_RIGHT}" for tick in heights)
    yield f'<path class="rule" d="{lines}"/>'
    for tick in heights:
        yield f'<text x="{_LEFT - 20}" y="{_rounded(up(np.array(tick))) + 15}" text-anchor="end">{label(tick)}</text>'
    marks = [(tick, label(tick)) for tick in ticks(across.low, across.high, across.log)] if marks is None else marks
    for tick, name in marks:
        x = _rounded(across(np.array(tick)))
        yield f'<text x="{x}" y="{_BOTTOM + 70}" text-anchor="middle">{html.escape(name)}</text>'


def _area(line: Line, across: _Scale, up: _Scale) -> str:
    steps, _, low, high = line.band
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any() or np.array_equal(low[known], high[known]):
        return ""
    x = np.concatenate([steps[known], steps[known][::-1]])
    y = np.concatenate([high[known], low[known][::-1]])
    faint = " train" if line.split == "train" else ""
    return f'<path class="{hue(line.hue)} area{faint}" d="{_path(_rounded(across(x)), up(y))}z"/>'


def _curve(line: Line, across: _Scale, up: _Scale) -> str:
    x, y = _rounded(across(line.band.steps)), up(line.band.mean)
    color, train = hue(line.hue), " train" if line.split == "train" else ""
    path = f'<path class="{color} line{train}" data-name="{html.escape(line.name)}" d="{_path(x, y)}"/>'
    known = np.isfinite(y)
    if line.hue >= HUES or train or known.sum() > _MAX_MARKERS:
        return path
    mark, size = ("ring", 16) if line.split == "test" else ("dot", 11)
    marks = "".join(f'<circle cx="{a}" cy="{b}" r="{size}"/>' for a, b in zip(x[known], _rounded(y[known])))
    return f'{path}<g class="{color} {mark}">{marks}</g>'


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Returns SVG path data in relative coordinates, with gaps where y is NaN."""
    commands, before = [], None
    for a, b, known in zip(x.tolist(), _rounded(np.nan_to_num(y)).tolist(), np.isfinite(y).tolist()):
        if not known:
            before = None
        elif before is None:
            commands.append(f"M{a} {b}l0 0")  # the round line cap shows an isolated point
            before = (a, b)
        else:
            commands.append(f" {a - before[0]} {b - before[1]}".replace(" -", "-"))
            before = (a, b)
    return "".join(commands)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(int)


def _svg(title: str, parts: Iterable[str], attributes: str = "") -> str:
    name = html.escape(title)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}" {attributes}>{"".join(parts)}</svg>'
