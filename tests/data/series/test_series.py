"""Tests of time-series windows: content, absence of leakage, invalid tables, CSV files."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import series_baselines
from benchmarks.trivial_baselines import rolling_quantiles
from jaxdl.data.series.windows import Series, calendar_of, seasonal
from jaxdl.data.source import ColumnSource
from jaxdl.data.store.prepared import digest_of
from jaxdl.data.synthetic.series import MockSeries
from jaxdl.errors import UserError


@dataclasses.dataclass(frozen=True)
class FixedTable:
    """Table of given columns with values 1000 * series + row."""

    columns: dict
    names: tuple = ("a", "b", "c")

    def load(self):
        content = {name: np.asarray(column).tolist() for name, column in self.columns.items()}
        return ColumnSource(self.columns, digest_of(content), {"series": self.names})


def table(*lengths, step=1, **changes):
    series = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    row = np.concatenate([np.arange(length) for length in lengths])
    columns = {
        "series": series,
        "time": (step * (row + 100)).astype(np.int32),
        "value": (1000 * series + row).astype(np.float32),
        "warmth": (row % 7).astype(np.float32),
        "holiday": (row % 5 == 0).astype(np.float32),
    }
    return FixedTable(columns | changes)


def everything(series):
    source = series.load()
    return source.read(np.arange(len(source)))


def test_a_window_contains_history_and_future_of_its_origin():
    series = Series(
        table(30, 25),
        6,
        3,
        season=4,
        covariates=("warmth",),
        known=("holiday",),
        lags=(4, 7),
        scales={"warmth": (3, 2)},
    )
    source = series.load()
    batch = source.read(np.arange(len(source)))
    assert len(source) == (30 - 7 - 3 + 1) + (25 - 7 - 3 + 1)  # the longest lag needs 7 rows
    assert {name: value.dtype.name for name, value in batch.items()} == {
        "history": "float32",
        "future": "float32",
        "naive": "float32",
        "target": "float32",
        "series": "int32",
    }
    for number, (target, which) in enumerate(zip(batch["target"], batch["series"])):
        rows = target - 1000 * which
        origin = int(rows[0])
        assert which == (number >= 21)
        np.testing.assert_array_equal(rows, np.arange(origin, origin + 3))
        past, ahead = np.arange(origin - 6, origin), np.arange(origin, origin + 3)
        history = np.stack([1000 * which + past, (past % 7 - 3) / 2, past % 5 == 0], -1)
        np.testing.assert_allclose(batch["history"][number], history)
        future = np.stack([target - 4, target - 7, ahead % 5 == 0], -1)
        np.testing.assert_allclose(batch["future"][number], future)
        np.testing.assert_array_equal(batch["naive"][number], target - 4)
    assert source.names == {"series": ("a", "b", "c"), "time_step": ("1", "")}


def test_drift_is_the_mean_change_since_a_season_earlier():
    steps = np.arange(20, dtype=np.float32)
    source = Series(
        FixedTable({"series": np.zeros(20, np.int32), "time": np.arange(20), "value": steps**2}),
        2,
        season=4,
        horizon=1,
        drift=3,
    )
    batch = everything(source)
    assert batch["target"][0] == 7**2  # a season and three steps are needed
    for target, drift in zip(np.sqrt(batch["target"][:, 0]), batch["drift"]):
        recent = target - np.arange(1, 4)
        np.testing.assert_allclose(drift, np.mean(recent**2 - (recent - 4) ** 2), rtol=1e-6)


def test_the_seasonal_naive_repeats_the_last_season_beyond_it():
    assert seasonal(7, 3).tolist() == [-3, -2, -1, -3, -2, -1, -3]
    assert seasonal(3, 1).tolist() == [-1, -1, -1]
    assert seasonal(2, 5).tolist() == [-5, -4]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(25, 35),
    st.integers(40, 50),
)
def test_temporal_parts_share_no_target_and_only_look_back(context, horizon, stride, season, first, second):
    cuts = [(0, first), (first, second), (second, 60)]
    parts = [everything(Series(table(60), context, horizon, cut[0], cut[1], stride, season)) for cut in cuts]
    for (start, stop), part in zip(cuts, parts):
        assert start <= part["target"].min()
        assert part["target"].max() < stop
        origins = part["target"][:, 0]
        assert np.all(np.diff(origins) == stride)
        assert origins[0] == max(start, context, season)
        assert origins[-1] + horizon + stride > stop
        assert np.all(part["history"][..., 0] < origins[:, None])
        assert np.all(part["naive"] < origins[:, None])


def test_fractions_and_rows_select_the_same_parts():
    shares = everything(Series(table(40, 80), 5, 2, 0.25, 0.5))
    starts = [shares["target"][shares["series"] == number].min() for number in (0, 1)]
    assert starts == [10, 1020]
    np.testing.assert_array_equal(
        everything(Series(table(40), 5, 2, 0.25, 0.5))["target"], everything(Series(table(40), 5, 2, 10, -20))["target"]
    )


def test_future_values_change_only_known_inputs():
    original = table(40)
    series = Series(original, 8, 4, lags=(4,), season=6, covariates=("warmth", "holiday"), known=("holiday",))
    before = everything(series)
    columns = dict(original.columns)
    for name in ("value", "warmth", "holiday"):
        columns[name] = np.where(np.arange(40) >= 20, 77, columns[name]).astype(np.float32)
    after = everything(dataclasses.replace(series, table=FixedTable(columns)))
    row = 20 - 8  # the window whose first target is row 20
    for name in ("history", "naive"):
        np.testing.assert_array_equal(before[name][: row + 1], after[name][: row + 1])
    np.testing.assert_array_equal(before["future"][: row + 1, :, 0], after["future"][: row + 1, :, 0])
    np.testing.assert_array_equal(after["future"][row, :, 1], 77)


@pytest.mark.parametrize("unit", [1, 30, 1440])
def test_the_calendar_is_independent_of_the_time_unit(unit):
    batch = everything(Series(table(40, step=unit), 8, 4, periods=(4, 10.5)))
    past, ahead = np.arange(92, 100) + 8, np.arange(100, 104) + 8
    for name, steps, offset in (("history", past, 1), ("future", ahead, 0)):
        angles = 2 * np.pi * steps[:, None] / np.array([4, 10.5])
        expected = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(len(steps), 4)
        np.testing.assert_allclose(batch[name][0][:, offset:], expected, atol=1e-5)


def test_the_calendar_is_accurate_far_from_its_epoch():
    time = np.arange(23_000_000, 23_000_000 + 30 * 48, 30)
    features = calendar_of(time, (48,))
    np.testing.assert_allclose(features[:, 0] ** 2 + features[:, 1] ** 2, 1, rtol=1e-6)
    np.testing.assert_allclose(features[:, 0].sum(), 0, atol=1e-4)
    assert len(np.unique(np.round(features, 4), axis=0)) == 48


def test_fingerprints_depend_on_settings_and_table():
    base = Series(table(40), 5, 2)
    others = [
        Series(table(41), 5, 2),
        Series(table(40), 6, 2),
        Series(table(40), 5, 2, stop=0.9),
        Series(table(40), 5, 2, covariates=("warmth",), scales={"warmth": (1, 2)}),
        Series(table(40), 5, 2, covariates=("warmth",), scales={"warmth": (1, 3)}),
    ]
    prints = [series.load().fingerprint for series in (base, *others)]
    assert len(set(prints)) == len(prints)
    assert Series(table(40), 5, 2).load().fingerprint == prints[0]


def spoiled(name, row, value):
    columns = dict(table(20, 30).columns)
    columns[name] = columns[name].copy()
    columns[name][row] = value
    return FixedTable(columns)


@pytest.mark.parametrize(
    ("invalid_table", "changes", "message"),
    [
        (spoiled("value", 25, np.nan), {}, r"series 'b', row 5 \(time 105\): 'value' is missing or not finite"),
        (spoiled("warmth", 3, np.inf), {"covariates": ("warmth",)}, "series 'a', row 3 .*'warmth' is missing"),
        (spoiled("time", 19, 125), {}, r"series 'a', row 19 .*a step of 7 in 'time', not 1 .*regular=False"),
        (spoiled("time", 24, 103), {}, r"series 'b', row 4 .*'time' is repeated; sort"),
        (spoiled("time", 24, 50), {}, r"series 'b', row 4 .*'time' is before 103 in the row above"),
        (spoiled("series", 22, 0), {}, "are not contiguous"),
        (table(30, 6), {}, r"series 'b' is too short: rows 0 to 6 .*no window of 2 targets after 5 rows"),
        (table(30), {"stop": 40}, "series 'a' has 30 rows, but stop=40"),
        (table(30), {"start": 0.9, "stop": 0.5}, "rows 27 to 15 of 30 have no window of 2 targets"),
        (table(30), {"covariates": ("warm",)}, "no column 'warm' .*did you mean 'warmth'"),
    ],
)
def test_invalid_tables_are_refused(invalid_table, changes, message):
    with pytest.raises(UserError, match=message):
        Series(invalid_table, 5, 2, **changes).load()


def test_unused_values_may_be_missing():
    assert len(Series(spoiled("warmth", 3, np.nan), 5, 2).load())
    assert len(Series(spoiled("time", 19, 125), 5, 2, regular=False).load())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 0}, "context=0 must be at least 1"),
        ({"stride": 0}, "stride=0"),
        ({"start": 1.5}, "start=1.5 must be a fraction"),
        ({"lags": (1,)}, "lag 1 is unknown .*at least 2"),
        ({"periods": (1,)}, "greater than 1 time step"),
        ({"periods": (7,), "regular": False}, "equal time steps"),
        ({"covariates": ("time",)}, "cannot be covariates"),
        ({"known": ("value",)}, "'value' is part of every history"),
        ({"scales": {"warmth": (0, 1)}}, "scales has 'warmth', which is not a covariate"),
        ({"covariates": ("warmth",), "scales": {"warmth": (0, 0)}}, "must be positive; got 0"),
    ],
)
def test_invalid_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(Series(table(30), 5, 2), **changes)


def test_mock_series_repeat_and_follow_their_settings():
    mock = MockSeries(series=3, steps=120, period=12, noise=0.0)
    columns = mock.load().columns
    assert {name: (len(column), column.dtype.name) for name, column in columns.items()} == {
        "series": (360, "int32"),
        "time": (360, "int32"),
        "value": (360, "float32"),
        "promotion": (360, "float32"),
    }
    batch = everything(Series(mock, 24, 6, season=12, known=("promotion",)))
    plain = (batch["future"][..., 0] == 0) & (batch["history"][:, 12:18, 1] == 0)
    np.testing.assert_allclose(batch["naive"][plain], batch["target"][plain], rtol=1e-4)
    assert not np.allclose(batch["naive"], batch["target"], rtol=1e-4)
    assert mock.load().fingerprint != MockSeries(series=3, steps=120, period=12, noise=0.0, seed=1).load().fingerprint
    assert (MockSeries(series=20, noise=0.2).load().columns["value"] > 0).all()
    with pytest.raises(UserError, match="series and steps must be at least 1"):
        MockSeries(series=0)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


PLAN = Series(
    table(40),
    6,
    3,
    season=7,
    covariates=("warmth",),
    known=("holiday",),
    lags=(4,),
    periods=(7,),
    scales={"warmth": (3, 2), "holiday": (1, 2)},
)


def csv_lines(rows, ahead, name="", change=lambda row: {}):
    """Returns rows of `table(...)`, the last ones without value and warmth."""
    yield f"{'series,' * bool(name)}time,value,warmth,holiday"
    for row in range(rows + ahead):
        cells = {"time": 100 + row, "value": row, "warmth": row % 7, "holiday": int(row % 5 == 0)}
        if row >= rows:
            cells |= {"value": "", "warmth": ""}
        yield f"{name}," * bool(name) + ",".join(str(cell) for cell in (cells | change(row)).values())


def test_a_csv_yields_the_same_window_as_training(tmp_path):
    path = write(tmp_path / "a.csv", *csv_lines(20, 3))
    ((label, example),) = PLAN.read([path], [], {"series": ("x", "a")})
    assert label == path
    batch = everything(PLAN)
    at = int(np.flatnonzero(batch["target"][:, 0] == 20)[0])
    assert set(example) == {"history", "future", "naive", "series"}
    for name in ("history", "future", "naive"):
        np.testing.assert_allclose(example[name], batch[name][at], atol=1e-6)
        assert example[name].dtype == np.float32
    assert example["series"] == 1


def test_each_series_of_each_file_is_an_example(tmp_path):
    two_series = write(tmp_path / "b.csv", *csv_lines(20, 3, "shop"), *list(csv_lines(25, 4, "kiosk"))[1:])
    single = write(tmp_path / "a.csv", *csv_lines(9, 3))
    examples = PLAN.read([two_series, single], [], {"series": ("kiosk",)})
    assert [label for label, _ in examples] == [f"{two_series}: shop", f"{two_series}: kiosk", single]
    assert [int(example["series"]) for _, example in examples] == [-1, 0, -1]
    assert [example["history"][-1, 0] for _, example in examples] == [19, 24, 8]


def test_without_known_columns_forecast_rows_are_optional(tmp_path):
    plan = dataclasses.replace(PLAN, known=(), scales={})
    with_rows, without = (
        plan.read([write(tmp_path / f"{ahead}.csv", *csv_lines(20, ahead))], [], {})[0][1] for ahead in (3, 0)
    )
    assert set(with_rows) == set(without)
    for name, value in with_rows.items():
        np.testing.assert_allclose(value, without[name])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (csv_lines(6, 3), "series 'a': 6 rows have a value, but a forecast needs 7"),
        (csv_lines(20, 2), "2 rows at its end have no value, but the horizon is 3; add rows with time, holiday"),
        (csv_lines(20, 0), "0 rows at its end have no value"),
        (csv_lines(0, 9), "0 rows have a value"),
        (csv_lines(20, 3, change=lambda row: {"value": ""} if row == 15 else {}), "line 17: 'value' is missing"),
        (csv_lines(20, 3, change=lambda row: {"holiday": ""} if row == 21 else {}), "line 23: 'holiday' is missing"),
        (csv_lines(20, 3, change=lambda row: {"time": 150} if row == 22 else {}), "line 24: a step of 29"),
        (["time,value,holiday", "1,2,0"], "no column 'warmth'"),
    ],
)
def test_a_csv_that_is_too_short_or_has_gaps_is_refused(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        PLAN.read([write(tmp_path / "a.csv", *lines)], [], {})


def test_gaps_before_the_window_are_ignored(tmp_path):
    path = write(tmp_path / "a.csv", *csv_lines(20, 3, change=lambda row: {"value": ""} if row == 2 else {}))
    assert len(PLAN.read([path], [], {})) == 1


def test_texts_are_refused():
    with pytest.raises(UserError, match="reads CSV files"):
        PLAN.read([], ["hello"], {})


def waves(**changes):
    return Series(MockSeries(steps=300, noise=changes.pop("noise", 0.05)), 36, 6, season=12, **changes).load()


def test_the_linear_baseline_solves_its_least_squares():
    train, validation = (series_baselines.windows(waves(start=a, stop=b)) for a, b in ((0.0, 0.7), (0.7, 1.0)))
    model = series_baselines.fit(train, validation)
    normal, center, scale = series_baselines.normalized(train.history, last=False)
    features = series_baselines.decomposed(normal, model.kernel)
    residual = (train.target - center) / scale - features @ model.weights - model.offset
    np.testing.assert_allclose(residual.mean(0), 0, atol=1e-8)
    # At zero gradient of the ridge loss: features' residual = ridge * weights.
    np.testing.assert_allclose((features - features.mean(0)).T @ residual, model.ridge * model.weights, atol=1e-6)
    np.testing.assert_allclose(model.forecast(train.history), train.target - residual * scale, rtol=1e-9)


def test_decomposition_adds_up_and_averages():
    history = np.random.default_rng(0).normal(size=(3, 40))
    trend, remainder = np.split(series_baselines.decomposed(history, 5), 2, axis=1)
    np.testing.assert_allclose(trend + remainder, history)
    np.testing.assert_allclose(trend[:, 10], history[:, 8:13].mean(1))
    np.testing.assert_allclose(trend[:, 0], (3 * history[:, 0] + history[:, 1] + history[:, 2]) / 5)


def test_the_baselines_are_scored_on_every_split():
    splits = {"validation": waves(start=0.7, stop=0.8), "test": waves(start=0.8)}
    lines = list(series_baselines.baselines(waves(stop=0.7), splits["validation"], splits))
    assert len(lines) == 8
    values = {line[12:22].strip(): float(line.split()[-1]) for line in lines if line.startswith("test ")}
    assert values["seasonal n"] == 1.0
    assert values["last value"] > values["DLinear, r"]
    assert abs(values["DLinear, r"] - values["NLinear, r"]) < 0.1
    data = series_baselines.windows(splits["test"])
    scores = series_baselines.scored(data.target + 2, data)
    assert scores.startswith("MAE     2.0000  RMSE     2.0000  relative MAE")


def test_rolling_quantiles_of_steady_growth_have_no_loss():
    rows = np.arange(1100)
    prices = FixedTable({"series": np.zeros(1100, np.int32), "time": rows, "value": np.float32(1.01) ** rows})
    test = Series(prices, 5, horizon=1, start=1050)
    score = rolling_quantiles(SimpleNamespace(evals={"validation": dataclasses.replace(test, stop=1060)}, test=test))
    assert score.value == pytest.approx(0, abs=0.1)  # of prices around 50,000
    assert score.predictor.startswith("quantiles of the last")
