"""Progress output: plain lines without a terminal, a progress bar and a table on a terminal."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from jaxdl.training.progress import Progress, duration, number

RESULT = {
    "step": 4000,
    "metrics": {
        "validation": {"loss": 0.312345, "accuracy": 0.89, "confusion": np.eye(2), "matrix": [[1, 2]]},
        "test": {"accuracy": np.float32(0.88), "bleu": None},
    },
    "parameters": 1234567,
    "seconds": 83.24,
    "goodput": 0.914,
    "badput": {"start_up": 0.04, "compile": 5.08, "evaluation": 2.0},
    "device_memory_peak": 1.5e9,
}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain(total=4000, start=0, **arguments) -> tuple[Progress, io.StringIO, Clock]:
    file, clock = io.StringIO(), Clock()
    return Progress(total, start, clock=clock, file=file, **arguments), file, clock


def test_each_report_is_a_line():
    progress, file, clock = plain()
    with progress:
        progress.advance(1)
        clock.now += 499 * 0.1
        progress.report(500, {"loss": 0.43212, "examples_per_second": 12345.4, "learning_rate": 0.1})
        progress.evaluation(500, "validation", {"loss": 0.31, "accuracy": 0.89, "confusion": np.eye(2)})
    assert file.getvalue().splitlines() == [
        "step 500/4000  loss 0.4321  12,345 examples/s  5:50 left",
        "step 500 validation  loss 0.3100  accuracy 0.8900",
    ]


def test_the_remaining_time_starts_with_this_process():
    progress, file, clock = plain(total=1000, start=900)
    clock.now += 1000  # start-up and compilation
    progress.advance(901)
    clock.now += 49
    progress.report(950, {"loss": 1.0})
    progress.report(1000, {"loss": 1.0})
    assert [line.split("  ")[-1] for line in file.getvalue().splitlines()] == ["0:50 left", "0:00 left"]


def test_the_first_report_has_no_remaining_time():
    progress, file, _ = plain()
    progress.report(1, {"generator_loss": 1.5, "discriminator_loss": math.nan})
    assert file.getvalue() == "step 1/4000  generator_loss 1.500  discriminator_loss nan\n"


def test_lines_are_not_interpreted_as_markup():
    progress, file, _ = plain()
    text = "[bold]resumed[/bold] :star: " + "x" * 300
    progress.line(text)
    assert file.getvalue() == text + "\n"


def test_results_are_an_aligned_table():
    progress, file, _ = plain()
    progress.results(RESULT, "runs/x/pictures")
    assert file.getvalue().splitlines() == [
        "metric    validation    test",
        "accuracy      0.8900  0.8800",
        "loss          0.3123",
        "steps       4,000",
        "parameters  1,234,567",
        "time        1:23 (83.2 s)",
        "goodput     91.4% (compile 6.1%, evaluation 2.4%)",
        "memory      1.50 GB at most",
        "pictures    runs/x/pictures",
    ]


def test_missing_results_are_left_out():
    progress, file, _ = plain()
    progress.results({"step": 2, "metrics": {}, "goodput": math.nan})
    assert file.getvalue() == "steps       2\n"


def test_other_processes_print_nothing():
    progress, file, _ = plain(shown=False)
    with progress:
        progress.report(1, {"loss": 1.0})
        progress.evaluation(1, "test", {"loss": 1.0})
        progress.line("text")
        progress.results(RESULT)
    assert file.getvalue() == ""


def test_a_terminal_has_a_bar_and_a_table():
    file, clock = io.StringIO(), Clock()
    console = Console(force_terminal=True, file=file, width=100, color_system=None, legacy_windows=False)
    progress = Progress(4000, clock=clock, console=console)
    with progress:
        progress.advance(1)
        clock.now += 50
        progress.report(501, {"loss": 0.43212, "examples_per_second": 12345.4})
        progress.evaluation(501, "validation", {"accuracy": 0.89})
        progress.results(RESULT, "runs/x/pictures")
    output = file.getvalue()
    assert "\x1b[" in output  # a redraw
    bar = next(line for line in output.splitlines() if "step 501/4000" in line)
    assert "loss 0.4321" in bar
    assert "12,345 examples/s" in bar
    assert "5:50 left" in bar
    assert "step 501 validation  accuracy 0.8900" in output
    table = output[output.rindex("step 501/4000") :]
    assert "┃" in table
    assert [cell.strip() for cell in next(row for row in table.splitlines() if "accuracy" in row).split("│")[1:-1]] == [
        "accuracy",
        "0.8900",
        "0.8800",
    ]
    assert "runs/x/pictures" in table


def test_an_exception_stops_the_bar_and_propagates():
    file = io.StringIO()
    console = Console(force_terminal=True, file=file, width=100)
    with pytest.raises(KeyError), Progress(10, console=console):
        raise KeyError
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is visible again


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (83, "1:23"), (7384, "2:03:04"), (90061, "1 d 1:01:01"), (math.inf, "?")],
)
def test_durations_are_formatted(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.43212, "0.4321"),
        (12345.4, "12,345"),
        (999.96, "1,000"),
        (1.0, "1.000"),
        (0.0, "0"),
        (1.2e-7, "1.200e-07"),
        (-3.5e12, "-3.500e+12"),
        (1234567, "1,234,567"),
        (np.int64(1234), "1,234"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (np.float32(0.5), "0.5000"),
    ],
)
def test_numbers_are_formatted(value, text):
    assert number(value) == text
