"""Small plots as SVG, drawn here: no library, and they take the colours of the page that holds them.

Colours are classes, `c0` to `c6` and `rest`, which `jaxdl.report.html` defines for light and dark. Coordinates are
whole
numbers, a quarter of a pixel, and each is told from the one before: a curve of 300 points takes about 1.5 KB.
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
_FEW = 40  # points of a curve, up to which each is marked


class Line(NamedTuple):
    """A curve of a panel.

    Attributes:
      name: for a reader's pointer, "2 width=64, train".
      hue: the number of its colour, from `HUES` on the common one of the rest.
      band: what is drawn.
      split: "train" is a thin line, "test" has rings for its points; other evaluations are thick, with dots where they
        are few.
    """

    name: str
    hue: int
    band: Band
    split: str


class Point(NamedTuple):
    """A run in a scatter plot: its argument as text, its result, and the number of its colour."""

    argument: str
    value: float
    hue: int
    name: str


class _Scale(NamedTuple):
    """From values to coordinates."""

    low: float
    high: float
    begin: int
    end: int
    log: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        low, high = self._ends
        with np.errstate(invalid="ignore", divide="ignore"):
            known = np.log10(values) if self.log else np.asarray(values, float)
        return self.begin + (known - low) / (high - low) * (self.end - self.begin)

    @property
    def _ends(self) -> tuple[float, float]:
        return (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)

    @property
    def told(self) -> str:
        """For the page's script: low and high, as logarithms where the axis is logarithmic, and whether it is."""
        low, high = self._ends
        return f"{low:.6g} {high:.6g} {int(self.log)}"


def curves(title: str, lines: Sequence[Line], last: float, log: bool = False) -> str:
    """A panel with a line and a band for each group and split.

    Args:
      lines: those with a lower hue are drawn above the others.
      last: the step at which the lower axis ends; it begins at 0.
      log: a logarithmic axis of values.
    """
    values = np.concatenate([side[np.isfinite(side)] for line in lines for side in line.band[1:]])
    across = _Scale(0.0, max(last, 1.0), _LEFT, _RIGHT)
    up = _scale(values, _BOTTOM, _TOP, log)
    parts = [*_frame(across, up)]
    parts += [_area(line, across, up) for line in lines if line.hue < HUES]
    parts += [_curve(line, across, up) for line in sorted(lines, key=lambda line: (-line.hue, line.split != "train"))]
    return _svg(title, parts, f'data-x="{across.told}" data-y="{up.told}"')


def scatter(title: str, points: Sequence[Point]) -> str:
    """A panel with a dot a run, the argument along and the result up, and a tick at the mean of each argument's value.

    The argument's axis is logarithmic where its numbers are positive and spread over a decade or more; what is no
    number is set out side by side.
    """
    numbers = [number(point.argument) for point in points]
    values = np.array([point.value for point in points])
    up = _scale(values, _BOTTOM, _TOP)
    if None in numbers:
        names = list(dict.fromkeys(point.argument for point in points))
        at = np.array([names.index(point.argument) for point in points], float)
        across = _Scale(-0.5, len(names) - 0.5, _LEFT, _RIGHT)
        every = -(-len(names) // 12)  # more names than that would overlap
        marks = [(float(index), shorten(name, max(4, 52 // len(names)))) for index, name in enumerate(names)][::every]
    else:
        at = np.array(numbers, float)
        log = bool(at.min() > 0 and at.max() >= 10 * at.min())
        across, marks = _scale(at, _LEFT, _RIGHT, log, margin=0.08), None
    parts = [*_frame(across, up, marks)]
    for place in np.unique(at):
        x, y = _whole(across(place)), _whole(up(values[at == place].mean()))
        parts.append(f'<path class="mean" d="M{x - 45} {y}h90"/>')
    for x, y, point in zip(_whole(across(at)), _whole(up(values)), points):
        told = html.escape(f"{point.name}: {point.value:.4g}")
        parts.append(f'<circle class="{hue(point.hue)} dot" cx="{x}" cy="{y}" r="18"><title>{told}</title></circle>')
    return _svg(title, parts)


def spread(values: Sequence[float], interval: tuple[float, float] | None, ends: tuple[float, float], index: int) -> str:
    """A strip for a table's row: a dot a seed, a bar over the interval of the mean; `ends` are those of all rows."""
    across = _scale(np.array(ends), 20, 460, margin=0.0)
    parts = ['<path class="rule" d="M0 32h480"/>']
    if interval is not None:
        low, high = _whole(across(np.array(interval)))
        parts.append(
            f'<rect class="{hue(index)} bar" x="{low}" y="16" width="{max(high - low, 4)}" height="32" rx="8"/>'
        )
    dots = "".join(f'<circle cx="{x}" cy="32" r="9"/>' for x in _whole(across(np.array(values))))
    parts.append(f'<g class="{hue(index)} dot">{dots}</g>')
    return f'<svg class="spread" viewBox="0 0 480 64" aria-hidden="true">{"".join(parts)}</svg>'


def hue(index: int) -> str:
    """The class of a group's colour."""
    return f"c{index}" if index < HUES else "rest"


def number(text: str) -> float | None:
    """The number that an argument's text is; None for anything else, True and False among it."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ticks(low: float, high: float, log: bool = False) -> list[float]:
    """Three to eight round numbers from `low` to `high`: 1, 2 and 5 times powers of ten."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5)):
            found = [
                f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p * (1 + 1e-9) <= high * (1 + 2e-9)
            ]
            if len(found) > 2:
                return found[:: -(-len(found) // 8)]
    size = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(step for step in (size, 2 * size, 5 * size, 10 * size) if (high - low) / step <= 5)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A tick's number: "20k", "0.05", "3e-4"."""
    size = abs(value)
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= 10 * unit or (size >= unit and sign != "k"):
            return f"{value / unit:.4g}{sign}"
    if size and size < 1e-3:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"


def _scale(values: np.ndarray, begin: int, end: int, log: bool = False, margin: float = 0.05) -> _Scale:
    """Over all values, and a margin at both ends."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if log:
        room = (high / low) ** margin
        return (
            _Scale(low / room, high * room, begin, end, True)
            if high > low
            else _Scale(low / 2, high * 2, begin, end, True)
        )
    room = margin * (high - low) if high > low else abs(high) / 10 or 1.0
    return _Scale(low - room, high + room, begin, end)


def _frame(across: _Scale, up: _Scale, marks: Sequence[tuple[float, str]] | None = None) -> Iterable[str]:
    """The grid with its numbers; `marks` are those of the lower axis, by default numbers."""
    heights = ticks(up.low, up.high, up.log)
    lines = "".join(f"M{_LEFT} {_whole(up(np.array(tick)))}H{_RIGHT}" for tick in heights)
    yield f'<path class="rule" d="{lines}"/>'
    for tick in heights:
        yield f'<text x="{_LEFT - 20}" y="{_whole(up(np.array(tick))) + 15}" text-anchor="end">{label(tick)}</text>'
    marks = [(tick, label(tick)) for tick in ticks(across.low, across.high, across.log)] if marks is None else marks
    for tick, name in marks:
        x = _whole(across(np.array(tick)))
        yield f'<text x="{x}" y="{_BOTTOM + 70}" text-anchor="middle">{html.escape(name)}</text>'


def _area(line: Line, across: _Scale, up: _Scale) -> str:
    steps, _, low, high = line.band
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any() or np.array_equal(low[known], high[known]):
        return ""
    x = np.concatenate([steps[known], steps[known][::-1]])
    y = np.concatenate([high[known], low[known][::-1]])
    faint = " train" if line.split == "train" else ""
    return f'<path class="{hue(line.hue)} area{faint}" d="{_path(_whole(across(x)), up(y))}z"/>'


def _curve(line: Line, across: _Scale, up: _Scale) -> str:
    x, y = _whole(across(line.band.steps)), up(line.band.mean)
    color, train = hue(line.hue), " train" if line.split == "train" else ""
    path = f'<path class="{color} line{train}" data-name="{html.escape(line.name)}" d="{_path(x, y)}"/>'
    known = np.isfinite(y)
    if line.hue >= HUES or train or known.sum() > _FEW:
        return path
    mark, size = ("ring", 16) if line.split == "test" else ("dot", 11)
    marks = "".join(f'<circle cx="{a}" cy="{b}" r="{size}"/>' for a, b in zip(x[known], _whole(y[known])))
    return f'{path}<g class="{color} {mark}">{marks}</g>'


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """A line through the points in SVG's words, each told from the one before; a gap where y is NaN."""
    words, before = [], None
    for a, b, known in zip(x.tolist(), _whole(np.nan_to_num(y)).tolist(), np.isfinite(y).tolist()):
        if not known:
            before = None
        elif before is None:
            words.append(f"M{a} {b}l0 0")  # a point by itself is seen, by its round ends
            before = (a, b)
        else:
            words.append(f" {a - before[0]} {b - before[1]}".replace(" -", "-"))
            before = (a, b)
    return "".join(words)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(int)


def _svg(title: str, parts: Iterable[str], more: str = "") -> str:
    name = html.escape(title)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}" {more}>{"".join(parts)}</svg>'
