"""Metrics of single examples: their totals are those of the evaluation, on any number of devices."""

import numpy as np
import pytest
from fakes import regression_experiment

from jaxdl.data.pipeline import eval_batches
from jaxdl.testing.laws import Bench
from jaxdl.training.per_example import evaluate_examples


@pytest.mark.parametrize("devices", [1, 4])
def test_totals_over_examples_are_the_metrics_of_the_evaluation(devices):
    bench = Bench(regression_experiment())
    program = bench.program() if devices == 1 else bench.program("several", devices)
    state, source = bench.start(program), bench.sources.train
    metrics = program.evaluate(state, eval_batches(source, program.eval_batch_size))
    columns = evaluate_examples(program, state, eval_batches(source, 1))
    assert np.array_equal(columns.pop("index"), np.arange(len(source)))
    assert columns
    for name, values in columns.items():
        assert values.shape == (len(source), 2)
        assert values[:, 0].sum() / values[:, 1].sum() == pytest.approx(metrics[name], rel=1e-5)
    assert any(len(np.unique(values[:, 1])) > 1 for values in columns.values())  # examples of different lengths
