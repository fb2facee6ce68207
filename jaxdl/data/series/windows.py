"""Series: windows of time series, a history to look at and a future to forecast.

A table of time series has a row a time step, ordered by series, then time: `series` int32, which one; `time` int32, in
any unit; `value` float32, what is to be forecast; and covariates float32. The data sets `elecdemand`, `walmart_sales`,
`sunspots` and `stocks` are such tables, and so is `csv:PATH` (see `jaxdl.data.formats.time_series_csv`).
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


@dataclass(frozen=True)
class Series:
    """Windows whose targets lie in one part of each series.

    The part is cut in time, so that three of them make a training, a validation and a test set: no target is in two of
    them. A history may reach back before the part, never forward beyond its window's first target. The earliest
    targets of a series, which have no full history, are in no window.

    Loads as
      history: float32 [windows, context, 1 + covariates + calendar], the time steps before the targets: the value in
        its own units, then the columns of `covariates` and those of `known` not among them, then the calendar.
      future: float32 [windows, horizon, lags + known + calendar], what is known of the time steps to be forecast: the
        value each of `lags` before, in the value's units; then the columns of `known`, then the calendar.
      target: float32 [windows, horizon], the values to forecast.
      naive: float32 [windows, horizon], the seasonal naive forecast: the values one season before, and where these lie
        in the future, too, the last season over again.
      series: int32 [windows], which series.
    The calendar is sine and cosine of the time for each of `periods`.

    Attributes:
      table: the time series.
      context: time steps of a history.
      horizon: time steps to forecast.
      start: where the targets begin in each series: a row (a whole number; negative ones count from the end) or a share
        of the series (a fraction, 0.0 to 1.0).
      stop: where they end, in the same way; the row itself is no target any more.
      stride: time steps from one window to the next.
      season: time steps of a season; 1 for none: then the naive forecast is the last value.
      covariates: columns of a history.
      known: columns that are known over the horizon, too, as a calendar of holidays is.
      lags: how far back, in time steps, to look for values that stand beside the future; at least `horizon`.
      periods: periods of the calendar in time steps: (48, 336) are day and week of half hours.
      scales: {covariate: (mean, standard deviation)}: subtracted from it and divided by; else it is used as it is.
      regular: whether the time steps of a series must be equal; False for trading days and the like, where each row is
        a step however long it took.
    """

    table: Loadable
    context: int
    horizon: int
    start: int | float = 0.0
    stop: int | float = 1.0
    stride: int = 1
    season: int = 1
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
                raise UserError(f"Series: {name}={count} must be 1 or more")
        for name, value in (("start", self.start), ("stop", self.stop)):
            if isinstance(value, float) and not 0.0 <= value <= 1.0:
                raise UserError(f"Series: {name}={value} must be a share, 0.0 to 1.0, or a row, a whole number")
        for lag in self.lags:
            if lag < self.horizon:
                raise UserError(
                    f"Series: a lag of {lag} steps is not known over the horizon; lags must be at least {self.horizon}"
                )
        if any(period <= 1 for period in self.periods):
            raise UserError(f"Series: periods={tuple(self.periods)}: a period must be more than 1 time step")
        if self.periods and not self.regular:
            raise UserError("Series: periods are counted in equal time steps; leave them out, or regular=False")
        if any(name in ("series", "time") for name in self._columns):
            raise UserError("Series: 'series' and 'time' are no covariates; of the time, take periods=(...)")
        if "value" in self._columns:
            raise UserError("Series: 'value' is in every history already; leave it out of covariates and known")
        for name, (_, std) in self.scales.items():
            if name not in self._columns:
                raise UserError(f"Series: scales of '{name}', which is no covariate; {nearest(name, self._columns)}")
            if not std > 0:
                raise UserError(f"Series: scales of '{name}': the standard deviation must be positive, not {std}")

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.covariates, *self.known)))

    @property
    def _reach(self) -> int:
        """How many rows a window needs before its first target."""
        return max(self.context, self.season, *self.lags) if self.lags else max(self.context, self.season)

    def load(self) -> "WindowSource":
        """Opens the table and finds the windows.

        Raises:
          UserError: the table has no such columns; a value that is missing or not finite; time steps that are not
            equal, come twice or go back; a series with no window.
        """
        source = self.table.load()
        table = source.read(np.arange(len(source)))
        self._check_columns(table, "the table")
        names = source.names.get("series") or [str(number) for number in range(int(table["series"].max()) + 1)]
        origins, runs = [], list(_runs(table["series"]))
        if len(runs) > len(np.unique(table["series"])):
            raise UserError("the rows of a series do not follow each other in the table; order it by series, then time")
        for first, last in runs:
            name = f"series '{names[int(table['series'][first])]}'"
            self._check(name, {column: values[first:last] for column, values in table.items()})
            origins.append(first + self._origins(name, last - first))
        rows = np.concatenate(origins)
        settings = dataclasses.asdict(dataclasses.replace(self, table=None)) | {"table": source.fingerprint}  # type: ignore
        names = {"series": tuple(names)}
        return WindowSource(self, self._channels(table), rows, table["series"][rows], digest_of(settings), names)

    def read(self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Any]) -> list[tuple[str, Batch]]:
        """The last window of each series of the user's CSV files: what comes after it is to be forecast.

        Rows at the end of a series whose `value` is empty are the time steps to forecast, with the `known` columns
        filled in; without known columns they may be left out.

        Args:
          files: CSV files (see `jaxdl.data.formats.time_series_csv`).
          texts: none.
          names: of the training data; `series` of an example is -1 where a series is not among them.

        Returns:
          [("FILE: SERIES", {`history`, `future`, `naive`, `series`})], shaped as in `Series` without the first axis.

        Raises:
          UserError: a text; a file that cannot be read, lacks a column, or has gaps; rows too few.
        """
        if texts:
            raise UserError("a forecast needs a CSV file with the columns time and value, not --text")
        known, examples = list(names.get("series") or ()), []
        for file in files:
            table = read_csv(file)
            self._check_columns(table.columns, file)
            for first, last in _runs(table.columns["series"]):
                name = table.series[int(table.columns["series"][first])]
                columns = {column: values[first:last] for column, values in table.columns.items()}
                example = self._last(f"{file}, series '{name}'", columns)
                example["series"] = np.array(known.index(name) if name in known else -1, np.int32)
                examples.append((f"{file}: {name}" if len(table.series) > 1 else file, example))
        return examples

    def _last(self, name: str, rows: Batch) -> Batch:
        """The window after the last value of one series."""
        empty = np.isnan(rows["value"])
        end = len(empty) - int(np.argmin(empty[::-1])) if not empty.all() else 0
        ahead = len(empty) - end
        if end < self._reach:
            raise UserError(
                f"{name}: {end} rows have a value, a forecast needs the last {self._reach}; add earlier ones"
            )
        if ahead < self.horizon and (ahead or self.known):
            raise UserError(
                f"{name}: {ahead} rows at its end have no value, {self.horizon} are to be forecast; add rows with time"
                f"{''.join(f', {column}' for column in self.known)} and an empty value"
            )
        rows = {column: values[end - self._reach : end + self.horizon] for column, values in rows.items()}
        self._check(name, rows, unknown=self.horizon if ahead else 0)
        if not ahead:
            rows = self._continued(name, rows)
        made = _windows(self, self._channels(rows), np.array([self._reach]))
        return {feature: value[0] for feature, value in made.items()}

    def _continued(self, name: str, rows: Batch) -> Batch:
        """The rows of one series and `horizon` more, with the times that follow and nothing else."""
        time, empty = rows["time"].astype(np.int64), np.full(self.horizon, np.nan, np.float32)
        if len(time) < 2 and self.periods:
            raise UserError(f"{name}: of one row the time step is not known; add the rows to forecast, without values")
        step = int(time[-1] - time[-2]) if len(time) > 1 else 1
        longer = {name: np.concatenate([rows[name], empty]) for name in ("value", *self._columns)}
        return longer | {"time": np.concatenate([time, time[-1] + step * np.arange(1, self.horizon + 1)])}

    def _check_columns(self, columns: Mapping[str, Any], where: str) -> None:
        for name in ("series", "time", "value", *self._columns):
            if name not in columns:
                raise UserError(f"{where} has no column '{name}' for Series; {nearest(name, columns)}")

    def _check(self, name: str, rows: Batch, unknown: int = 0) -> None:
        """Refuses the rows of one series if a number that is needed is missing, or their time steps are not right.

        Args:
          unknown: how many rows at the end are to be forecast: of these only the `known` columns are there.
        """
        seen = len(rows["time"]) - unknown
        for column in ("value", *self._columns):
            wrong = np.flatnonzero(~np.isfinite(rows[column][: None if column in self.known else seen]))
            if len(wrong):
                raise UserError(
                    f"{name}, {_place(rows, wrong[0])}: '{column}' is missing or not finite; fill it in, or cut the "
                    "series there"
                )
        steps = np.diff(rows["time"].astype(np.int64))
        odd = np.flatnonzero(steps <= 0)
        if len(odd):
            what = "comes a second time" if steps[odd[0]] == 0 else f"is before the {rows['time'][odd[0]]} above it"
            remedy = "sort the rows by time and keep one of each"
            raise UserError(f"{name}, {_place(rows, odd[0] + 1)}: the 'time' {what}; {remedy}")
        if self.regular and len(steps) and len(odd := np.flatnonzero(steps != np.median(steps))):
            raise UserError(
                f"{name}, {_place(rows, odd[0] + 1)}: a step of {steps[odd[0]]} in 'time', not {np.median(steps):g} as "
                "others; fill in the missing rows, or say regular=False if each row is a step, as with trading days"
            )

    def _origins(self, name: str, rows: int) -> np.ndarray:
        """[windows] the rows, counted in the series, that are first targets."""
        bounds = []
        for key, value in (("start", self.start), ("stop", self.stop)):
            row = round(value * rows) if isinstance(value, float) else value + rows * (value < 0)
            if not 0 <= row <= rows:
                raise UserError(f"{name} has {rows} rows: {key}={value} is not among them")
            bounds.append(row)
        first = max(bounds[0], self._reach)
        if first + self.horizon > bounds[1]:
            raise UserError(
                f"{name} is too short: no window of {self.horizon} targets lies in rows {bounds[0]} to {bounds[1]} of "
                f"{rows} with {self._reach} rows before it; take a smaller context, season, lag or horizon"
            )
        return np.arange(first, bounds[1] - self.horizon + 1, self.stride)

    def _channels(self, table: Mapping[str, np.ndarray]) -> Batch:
        """What windows are cut out of: `value` [rows], `past` and `ahead` [rows, channels]."""
        scaled = {}
        for name in self._columns:
            mean, std = self.scales.get(name, (0.0, 1.0))
            scaled[name] = ((table[name].astype(np.float64) - mean) / std).astype(np.float32)
        calendar = [np.zeros((len(table["time"]), 0), np.float32)]
        if self.periods:
            runs = _runs(table["series"]) if "series" in table else [(0, len(table["time"]))]
            calendar = [calendar_of(table["time"][first:last], self.periods) for first, last in runs]
        turned = list(np.concatenate(calendar).T)
        return {
            "value": table["value"].astype(np.float32),
            "past": _stacked([*scaled.values(), *turned], len(table["time"])),
            "ahead": _stacked([*(scaled[name] for name in self.known), *turned], len(table["time"])),
        }


@dataclass(frozen=True)
class WindowSource:
    """The windows of a `Series`, cut out of the table when they are read.

    Attributes:
      settings: context, horizon, season and lags.
      channels: `value` [rows], `past` and `ahead` [rows, channels].
      origins: [windows] the row of each window's first target.
      series: [windows] which series it is of.
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
    """Sine and cosine of each period, by turns, float32 [rows, 2 * periods], for the equal steps of `time` [rows].

    Phases count from time 0, so they do not depend on where the rows begin, nor on the unit of the time.
    """
    steps = time.astype(np.float64) / (float(time[1] - time[0]) if len(time) > 1 else 1.0)
    angles = 2 * np.pi * (steps[:, None] / np.asarray(periods, np.float64) % 1.0)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(time), -1).astype(np.float32)


def seasonal(horizon: int, season: int) -> np.ndarray:
    """[horizon] the row of the seasonal naive forecast for each step, counted from the first target: all negative."""
    return np.arange(horizon) % season - season


def _windows(settings: Series, channels: Mapping[str, np.ndarray], origins: np.ndarray) -> Batch:
    """`history`, `future` and `naive` of the windows with first targets at `origins` [windows]."""
    value, first = channels["value"], origins[:, None]
    past, ahead = first + np.arange(-settings.context, 0), first + np.arange(settings.horizon)
    return {
        "history": np.concatenate([value[past][..., None], channels["past"][past]], axis=-1),
        "future": np.concatenate(
            [*(value[ahead - lag][..., None] for lag in settings.lags), channels["ahead"][ahead]], axis=-1
        ),
        "naive": value[first + seasonal(settings.horizon, settings.season)],
    }


def _place(rows: Mapping[str, np.ndarray], row: int) -> str:
    """What to call a row of one series: its line, in a table that was read from a file."""
    return f"line {rows['line'][row]}" if "line" in rows else f"row {row} (time {rows['time'][row]})"


def _stacked(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    return np.stack(columns, axis=-1) if columns else np.zeros((rows, 0), np.float32)


def _runs(series: np.ndarray) -> Iterator[tuple[int, int]]:
    """First row and one after the last of each series."""
    cuts = np.flatnonzero(np.diff(series)) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(series)])
