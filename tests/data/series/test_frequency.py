"""Time step of forecasts: a file with another frequency than the training data is refused."""

from datetime import datetime, timedelta

import pytest

from jaxdl.data.dataset import Dataset
from jaxdl.data.series.windows import STEP, Series
from jaxdl.errors import UserError

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def table(path, times):
    path.write_text("time,value\n" + "".join(f"{time},{row}\n" for row, time in enumerate(times)))
    return str(path)


def dates(step, count=12):
    return [(datetime(2024, 1, 1) + number * step).isoformat() for number in range(count)]


def months(step):
    return [f"{2020 + number // 12}-{1 + number % 12:02}" for number in range(0, 12 * step, step)]


@pytest.fixture
def forecast(tmp_path):
    """Returns `forecast(times of training, times of the file)`."""

    def run(trained, times):
        names = Series(Dataset(f"csv:{table(tmp_path / 'trained.csv', trained)}", "train"), 3, 1).load().names
        series = Series(Dataset("csv:unused", "train"), 3, 1)
        return series.read([table(tmp_path / "recent.csv", times)], [], names)

    return run


@pytest.mark.parametrize(
    ("trained", "times", "message"),
    [
        (dates(HOUR), dates(DAY), "has a time step of 1 days, but the model was trained on steps of 1 hours"),
        (dates(DAY), dates(7 * DAY), "has a time step of 7 days, but .* steps of 1 days; resample the file"),
        (months(1), months(3), "has a time step of 3 months, but .* 1 months"),
        (months(1), dates(DAY), "has a time step of 1 days, but .* 1 months"),
        (dates(DAY), range(12), "has a time step of 1 time units, but .* 1 days"),
        (range(12), range(0, 24, 2), "has a time step of 2 time units, but .* 1 time units"),
        (range(12), dates(7 * DAY), "has a time step of 7 days, but .* 1 time units"),
    ],
)
def test_another_frequency_is_refused(forecast, trained, times, message):
    with pytest.raises(UserError, match=message):
        forecast(trained, times)


@pytest.mark.parametrize(
    ("trained", "times"),
    [
        (dates(HOUR), dates(HOUR)),
        (months(1), months(1)),
        (range(12), dates(DAY)),  # integer times may count days
        (range(12), [f"{1990 + number}-01-01" for number in range(12)]),  # or years
        (range(12), range(100, 112)),
    ],
)
def test_the_frequency_of_training_is_accepted(forecast, trained, times):
    assert len(forecast(trained, times)) == 1


def test_runs_without_a_recorded_step_accept_any(tmp_path):
    series = Series(Dataset("csv:unused", "train"), 3, 1)
    names = Series(Dataset(f"csv:{table(tmp_path / 'a.csv', dates(DAY))}", "train"), 3, 1).load().names
    assert names[STEP] == ("1440", "minutes")
    assert len(series.read([table(tmp_path / "b.csv", dates(HOUR))], [], {"series": ("a",)})) == 1
