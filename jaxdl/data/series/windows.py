"""Forecasting windows: history and future of time series.

A table of time series is sorted by series, then time, with one row per time step: `series` int32, `time` int32 in any
unit, `value` float32 (the target) and float32 covariates. Examples are `elecdemand`, `walmart_sales`, `sunspots`,
`stocks` and `csv:PATH` (see `jaxdl.data.formats.time_series_csv`).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxdl.data.formats.time_series_csv import read_csv
from jaxdl.data.source import Batch, Loadable
from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, nearest

STEP = "time_step"  # key in `names`: median step and unit of the training data
_FACTORS = {"minutes": {1.0, 60.0, 1440.0}, "months": {1.0, 12.0}}  # of unitless training times


@dataclass(frozen=True)
class Series:
    """Windows whose targets lie in one part of each series.

    Parts are contiguous in time, so training, validation and test targets are disjoint. A history may reach before the
    part, but never past its window's first target. Targets without a full history are skipped.

    Features:
      history: float32 [windows, context, 1 + covariates + calendar], the steps before the targets: the value, the
        `covariates`, the `known` columns not among them, and the calendar.
      future: float32 [windows, horizon, lags + known + calendar], known inputs of the forecast steps: the value at each
        of `lags` before, the `known` columns, and the calendar.
      target: float32 [windows, horizon], values to forecast.
      naive: float32 [windows, horizon], seasonal naive forecast: the last season, repeated.
      drift: float32 [windows], if the attribute `drift` is positive: mean difference of the last `drift` values from
        those a season earlier.
      series: int32 [windows], index of the series.

    The calendar is sine and cosine of the time for each of `periods`. Values are not scaled.

    Example: with `context=3, horizon=1`, the series 1 2 3 4 5 has the windows history [1, 2, 3], target [4] and history
    [2, 3, 4], target [5].

    Attributes:
      table: Time series.
      context: Time steps of a history.
      horizon: Time steps of a forecast.
      start: First target row of each series: a row (int, negative from the end) or a fraction (float, 0.0 to 1.0).
      stop: End of the target rows (exclusive), in the same form.
      stride: Time steps between windows.
      season: Time steps per season. 1 makes the naive forecast the last value.
      drift: Number of steps that the feature `drift` averages. 0: without it.
      covariates: Columns of the history.
      known: Columns that are also known over the horizon, such as holidays.
      lags: Time steps back of the values that enter `future`, at least `horizon`.
      periods: Calendar periods in time steps. (48, 336) are day and week of half hours.
      scales: (mean, std) to standardize a covariate. Others are unscaled.
      regular: Whether the time steps of a series must be equal. False counts rows, as for trading days.
    """

    table: Loadable
    context: int
    horizon: int
    start: int | float = 0.0
    stop: int | float = 1.0
    stride: int = 1
    season: int = 1
    drift: int = 0
    covariates: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    lags: tuple[int, ...] = ()
    periods: tuple[float, ...] = ()
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    regular: bool = True

    def __post_init__(self):
        counts = {"context": self.context, "horizon": self.horizon, "stride": self.stride, "season": self.season}
        for name, count in counts.items():
            if count < 1:
                raise UserError(f"Series: {name}={count} must be at least 1")
        if self.drift < 0:
            raise UserError(f"Series: drift={self.drift} must be at least 0")
        for name, value in (("start", self.start), ("stop", self.stop)):
            if isinstance(value, float) and not 0.0 <= value <= 1.0:
                raise UserError(f"Series: {name}={value} must be a fraction from 0.0 to 1.0, or an integer row")
        for lag in self.lags:
            if lag < self.horizon:
                raise UserError(f"Series: lag {lag} is unknown over the horizon; lags must be at least {self.horizon}")
        if any(period <= 1 for period in self.periods):
            raise UserError(f"Series: periods={tuple(self.periods)} must be greater than 1 time step")
        if self.periods and not self.regular:
            raise UserError("Series: periods need equal time steps; remove periods, or set regular=True")
        if any(name in ("series", "time") for name in self._columns):
            raise UserError("Series: 'series' and 'time' cannot be covariates; encode time with periods=(...)")
        if "value" in self._columns:
            raise UserError("Series: 'value' is part of every history; remove it from covariates and known")
        for name, (_, std) in self.scales.items():
            if name not in self._columns:
                raise UserError(
                    f"Series: scales has '{name}', which is not a covariate; {nearest(name, self._columns)}"
                )
            if not std > 0:
                raise UserError(f"Series: the std of '{name}' in scales must be positive; got {std}")

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.covariates, *self.known)))

    @property
    def _reach(self) -> int:
        """Returns the number of rows that a window needs before its first target."""
        return max(self.context, self.season + self.drift, *self.lags)

    def load(self) -> "WindowSource":
        """Opens the table and locates the windows.

        Raises:
          UserError: A column is missing, a value is missing or not finite, time steps are unequal or not increasing, or
            a series has no window.
        """
        source = self.table.load()
        table = source.read(np.arange(len(source)))
        self._check_columns(table, "the table")
        names = source.names.get("series") or [str(number) for number in range(int(table["series"].max()) + 1)]
        origins, runs = [], list(_runs(table["series"]))
        if len(runs) > len(np.unique(table["series"])):
            raise UserError("the rows of a series are not contiguous in the table; sort it by series, then time")
        for first, last in runs:
            name = f"series '{names[int(table['series'][first])]}'"
            self._check(name, {column: values[first:last] for column, values in table.items()})
            origins.append(first + self._origins(name, last - first))
        rows = np.concatenate(origins)
        settings = dataclasses.asdict(dataclasses.replace(self, table=None)) | {"table": source.fingerprint}  # type: ignore
        names = {"series": tuple(names), STEP: (f"{_step(table):g}", *source.names.get("time_unit", ("",)))}
        return WindowSource(self, self._channels(table), rows, table["series"][rows], digest_of(settings), names)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]) -> list[tuple[str, Batch]]:
        """Reads the last window of each series in CSV files, for forecasting.

        Rows at the end of a series without a `value` are the steps to forecast, with the `known` columns filled in.
        Without known columns they may be omitted.

        Args:
          files: CSV files (see `jaxdl.data.formats.time_series_csv`).
          texts: Must be empty.
          names: Names of the training data. `series` is -1 for series that are not among them.

        Returns:
          Pairs ("FILE: SERIES", {`history`, `future`, `naive`, `series`}), as in `Series` without the first axis.

        Raises:
          UserError: A text was given, a file cannot be read, lacks a column, has gaps or other time steps than the
            training data, or there are too few rows.
        """
        if texts:
            raise UserError("a forecast reads CSV files with the columns time and value, not --text; pass one")
        trained_series, examples = list(names.get("series") or ()), []
        for file in files:
            table = read_csv(file)
            self._check_columns(table.columns, file)
            _check_step(file, _step(table.columns), table.unit, names.get(STEP))
            for first, last in _runs(table.columns["series"]):
                name = table.series[int(table.columns["series"][first])]
                columns = {column: values[first:last] for column, values in table.columns.items()}
                example = self._last(f"{file}, series '{name}'", columns)
                example["series"] = np.array(trained_series.index(name) if name in trained_series else -1, np.int32)
                examples.append((f"{file}: {name}" if len(table.series) > 1 else file, example))
        return examples

    def _last(self, name: str, rows: Batch) -> Batch:
        """Returns the window after the last value of one series."""
        empty = np.isnan(rows["value"])
        end = len(empty) - int(np.argmin(empty[::-1])) if not empty.all() else 0
        ahead = len(empty) - end
        if end < self._reach:
            raise UserError(f"{name}: {end} rows have a value, but a forecast needs {self._reach}; add earlier rows")
        if ahead < self.horizon and (ahead or self.known):
            raise UserError(
                f"{name}: {ahead} rows at its end have no value, but the horizon is {self.horizon}; add rows with time"
                f"{''.join(f', {column}' for column in self.known)} and an empty value"
            )
        rows = {column: values[end - self._reach : end + self.horizon] for column, values in rows.items()}
        self._check(name, rows, unknown=self.horizon if ahead else 0)
        if not ahead:
            rows = self._continued(name, rows)
        window = _windows(self, self._channels(rows), np.array([self._reach]))
        return {feature: value[0] for feature, value in window.items()}

    def _continued(self, name: str, rows: Batch) -> Batch:
        """Appends `horizon` rows with consecutive times and no values to the rows of one series."""
        time, empty = rows["time"].astype(np.int64), np.full(self.horizon, np.nan, np.float32)
        if len(time) < 2 and self.periods:
            raise UserError(
                f"{name}: the time step of a single row is unknown; add the rows to forecast, without values"
            )
        step = int(time[-1] - time[-2]) if len(time) > 1 else 1
        extended = {name: np.concatenate([rows[name], empty]) for name in ("value", *self._columns)}
        return extended | {"time": np.concatenate([time, time[-1] + step * np.arange(1, self.horizon + 1)])}

    def _check_columns(self, columns: Mapping[str, Any], where: str) -> None:
        for name in ("series", "time", "value", *self._columns):
            if name not in columns:
                raise UserError(f"{where} has no column '{name}' for Series; {nearest(name, columns)}")

    def _check(self, name: str, rows: Batch, unknown: int = 0) -> None:
        """Refuses rows of one series with missing numbers or invalid time steps.

        Args:
          name: Name of the series, for error messages.
          rows: Columns of the series.
          unknown: Number of forecast rows at the end, of which only the `known` columns are given.
        """
        observed = len(rows["time"]) - unknown
        for column in ("value", *self._columns):
            invalid = np.flatnonzero(~np.isfinite(rows[column][: None if column in self.known else observed]))
            if len(invalid):
                raise UserError(
                    f"{name}, {_place(rows, invalid[0])}: '{column}' is missing or not finite; fill it in, or "
                    "split the series there"
                )
        steps = np.diff(rows["time"].astype(np.int64))
        irregular = np.flatnonzero(steps <= 0)
        if len(irregular):
            fault = (
                "is repeated"
                if steps[irregular[0]] == 0
                else f"is before {rows['time'][irregular[0]]} in the row above"
            )
            remedy = "sort the rows by time and keep one of each"
            raise UserError(f"{name}, {_place(rows, irregular[0] + 1)}: the 'time' {fault}; {remedy}")
        if self.regular and len(steps) and len(irregular := np.flatnonzero(steps != np.median(steps))):
            raise UserError(
                f"{name}, {_place(rows, irregular[0] + 1)}: a step of {steps[irregular[0]]} in 'time', not "
                f"{np.median(steps):g} as elsewhere; fill in missing rows, or set regular=False if each row is a step"
            )

    def _origins(self, name: str, rows: int) -> np.ndarray:
        """Returns the rows of the first targets, relative to the series, [windows]."""
        bounds = []
        for key, value in (("start", self.start), ("stop", self.stop)):
            row = round(value * rows) if isinstance(value, float) else value + rows * (value < 0)
            if not 0 <= row <= rows:
                raise UserError(f"{name} has {rows} rows, but {key}={value}; choose a row within the series")
            bounds.append(row)
        first = max(bounds[0], self._reach)
        if first + self.horizon > bounds[1]:
            raise UserError(
                f"{name} is too short: rows {bounds[0]} to {bounds[1]} of {rows} have no window of {self.horizon} "
                f"targets after {self._reach} rows; decrease context, season, lags or horizon"
            )
        return np.arange(first, bounds[1] - self.horizon + 1, self.stride)

    def _channels(self, table: Mapping[str, np.ndarray]) -> Batch:
        """Returns the columns that windows are cut from.

        They are `value` [rows], `past` and `ahead` [rows, channels].
        """
        scaled = {}
        for name in self._columns:
            mean, std = self.scales.get(name, (0.0, 1.0))
            scaled[name] = ((table[name].astype(np.float64) - mean) / std).astype(np.float32)
        calendar = [np.zeros((len(table["time"]), 0), np.float32)]
        if self.periods:
            runs = _runs(table["series"]) if "series" in table else [(0, len(table["time"]))]
            calendar = [calendar_of(table["time"][first:last], self.periods) for first, last in runs]
        waves = list(np.concatenate(calendar).T)
        return {
            "value": table["value"].astype(np.float32),
            "past": _stacked([*scaled.values(), *waves], len(table["time"])),
            "ahead": _stacked([*(scaled[name] for name in self.known), *waves], len(table["time"])),
        }


@dataclass(frozen=True)
class WindowSource:
    """Windows of a `Series`, cut from the table on access.

    Attributes:
      settings: Context, horizon, season and lags.
      channels: `value` [rows], `past` and `ahead` [rows, channels].
      origins: Row of each window's first target, [windows].
      series: Index of each window's series, [windows].
    """

    settings: Series
    channels: Mapping[str, np.ndarray]
    origins: np.ndarray
    series: np.ndarray
    fingerprint: str
    names: Mapping[str, tuple[str, ...]]
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.origins)

    def read(self, indices: np.ndarray) -> Batch:
        origins = self.origins[indices]
        batch = _windows(self.settings, self.channels, origins)
        batch["target"] = self.channels["value"][origins[:, None] + np.arange(self.settings.horizon)]
        return batch | {"series": self.series[indices].astype(np.int32)}


def calendar_of(time: np.ndarray, periods: Sequence[float]) -> np.ndarray:
    """Returns sine and cosine of each period, interleaved, float32 [rows, 2 * periods].

    `time` [rows] is equidistant.

    Phases count from time 0, so they do not depend on the first row or on the unit of time.
    """
    steps = time.astype(np.float64) / (float(time[1] - time[0]) if len(time) > 1 else 1.0)
    angles = 2 * np.pi * (steps[:, None] / np.asarray(periods, np.float64) % 1.0)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(time), -1).astype(np.float32)


def seasonal(horizon: int, season: int) -> np.ndarray:
    """Returns the rows of the seasonal naive forecast relative to the first target, [horizon]."""
    return np.arange(horizon) % season - season


def _windows(settings: Series, channels: Mapping[str, np.ndarray], origins: np.ndarray) -> Batch:
    """Returns `history`, `future`, `naive` and `drift` of windows with first targets at `origins`."""
    value, first = channels["value"], origins[:, None]
    past, ahead = first + np.arange(-settings.context, 0), first + np.arange(settings.horizon)
    windows = {
        "history": np.concatenate([value[past][..., None], channels["past"][past]], axis=-1),
        "future": np.concatenate(
            [*(value[ahead - lag][..., None] for lag in settings.lags), channels["ahead"][ahead]], axis=-1
        ),
        "naive": value[first + seasonal(settings.horizon, settings.season)],
    }
    if not settings.drift:
        return windows
    recent = first + np.arange(-settings.drift, 0)
    return windows | {"drift": (value[recent] - value[recent - settings.season]).mean(1)}


def _step(table: Mapping[str, np.ndarray]) -> float:
    """Returns the median time step over all series; 0 if no series has two rows."""
    steps = [np.diff(table["time"][first:last].astype(np.int64)) for first, last in _runs(table["series"])]
    joined = np.concatenate(steps)
    return float(np.median(joined)) if len(joined) else 0.0


def _check_step(file: str, step: float, unit: str, trained: Sequence[str] | None) -> None:
    """Refuses a file whose median time step differs from that of the training data.

    Integer times of the training data have no unit. They may count days or years, which a file gives as dates.
    """
    if not trained or not step or float(trained[0]) == 0:
        return
    before, unit_before = float(trained[0]), trained[1] if len(trained) > 1 else ""
    factors = {1.0} if unit_before or not unit else _FACTORS[unit]
    if (unit_before and unit != unit_before) or all(step != factor * before for factor in factors):
        raise UserError(
            f"{file} has a time step of {_duration(step, unit)}, but the model was trained on steps of "
            f"{_duration(before, unit_before)}; resample the file"
        )


def _duration(step: float, unit: str) -> str:
    if unit == "minutes":
        size, unit = next((size, name) for size, name in ((1440, "days"), (60, "hours"), (1, unit)) if step % size == 0)
        step /= size
    return f"{step:g} {unit or 'time units'}"


def _place(rows: Mapping[str, np.ndarray], row: int) -> str:
    """Returns the name of a row: its line in a file, else its number."""
    return f"line {rows['line'][row]}" if "line" in rows else f"row {row} (time {rows['time'][row]})"


def _stacked(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    return np.stack(columns, axis=-1) if columns else np.zeros((rows, 0), np.float32)


def _runs(series: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields the first row and the end of each series."""
    boundaries = np.flatnonzero(np.diff(series)) + 1
    yield from zip([0, *boundaries.tolist()], [*boundaries.tolist(), len(series)])
