"""SVG plots: bands over runs, downsampling, axes and paths."""

import re

import numpy as np
import pytest

from jaxdl.report import svg
from jaxdl.report.bands import Band, band, thin


def test_thinning_keeps_ends_and_spikes():
    steps = np.arange(1, 5001) * 10
    values = np.linspace(5, 1, 5000)
    values[2345] = 100
    values[100:140] = np.nan
    thinned = thin(Band(steps, values, values, values))
    assert len(thinned.steps) == 300
    assert (thinned.steps[0], thinned.mean[0]) == (10, 5)
    assert (thinned.steps[-1], thinned.mean[-1]) == (50000, 1)
    assert np.nanmax(thinned.high) == 100
    assert np.isnan(thinned.mean).any()
    assert np.all(np.diff(thinned.steps) > 0)
    assert np.nanmean(thinned.mean) == pytest.approx(np.nanmean(values), rel=0.01)
    few = Band(steps[:300], *(values[:300],) * 3)
    assert thin(few) is few


def test_band_is_mean_minimum_and_maximum():
    steps = np.array([1, 2, 3])
    curve = band([(steps, np.array([1.0, 2.0, np.nan])), (steps, np.array([3.0, 4.0, 5.0]))])
    np.testing.assert_allclose(curve[1:], [[2, 3, 5], [1, 2, 5], [3, 4, 5]])
    curve = band([(np.array([1, 3]), np.array([1.0, 3.0])), (np.array([2, 3, 4]), np.array([4.0, 5.0, 6.0]))])
    np.testing.assert_allclose(curve[:2], [[1, 2, 3, 4], [1, 3, 4, 6]])


def test_ticks_are_round_numbers():
    assert svg.ticks(0.0, 1.03) == pytest.approx([0, 0.5, 1.0])
    assert svg.ticks(10.0, 47_000.0) == [10_000, 20_000, 30_000, 40_000]
    assert svg.ticks(1e-4, 1.0, log=True) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert [svg.label(value) for value in (0, 0.05, 3e-4, 2000, 20_000, 5e6)] == [
        "0",
        "0.05",
        "3e-4",
        "2000",
        "20k",
        "5M",
    ]


def test_argument_axis_depends_on_its_values():
    def labels(values):
        plot = svg.scatter("", [svg.Point(value, 1.0, 0, "run") for value in values])
        return re.findall(r'text-anchor="middle">([^<]*)<', plot)

    assert labels(["0.001", "0.01", "0.1"]) == ["0.001", "0.01", "0.1"]
    assert labels(["1", "2", "3"]) == ["1", "1.5", "2", "2.5", "3"]
    assert labels(["True", "<False>"]) == ["True", "&lt;False&gt;"]


def test_curve_path_is_relative_with_gaps():
    values = np.array([0.0, 1.0, np.nan, 0.5])
    line = svg.Line("run <1>", 0, Band(np.arange(4) * 10, values, values, values), "train")
    plot = svg.curves("loss & more", [line], last=30)
    (path,) = re.findall(r'data-name="run &lt;1&gt;" d="([^"]*)"', plot)
    segment, last_segment = path.split("M")[1:]
    numbers = [int(digits) for digits in re.findall(r"-?\d+", segment)]
    assert numbers[0] == 190  # step 0, the start of the axis
    assert numbers[4:] == [457, -764]  # a third of the width, and up by the range of the values
    assert last_segment.startswith("1560 ")  # the last step, the end of the axis
    assert 'aria-label="loss &amp; more"' in plot
