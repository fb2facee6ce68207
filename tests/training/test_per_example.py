"""Metrics of single examples: their totals are those of the evaluation, on any number of devices."""

import numpy as np
import pytest
from fakes import regression_experiment

from jaxdl.data.pipeline import eval_batches
from jaxdl.testing.laws import Bench
from jaxdl.training.per_example import evaluate_examples


def test_totals_over_examples_are_the_metrics_of_the_evaluation():
    bench = Bench(regression_experiment())
    source, columns = bench.sources.train, []
    for program in (bench.program(), bench.program("several", 4)):
        state = bench.start(program)
        metrics = program.evaluate(state, eval_batches(source, program.eval_batch_size))
        columns.append(evaluate_examples(program, state, eval_batches(source, 1)))
        assert np.array_equal(columns[-1].pop("index"), np.arange(len(source)))
        for name, values in columns[-1].items():
            assert values[:, 0].sum() / values[:, 1].sum() == pytest.approx(metrics[name], rel=1e-5)
    one, several = columns
    assert one.keys() == several.keys() != set()
    for name, values in one.items():
        assert values.shape == (len(source), 2)
        np.testing.assert_allclose(several[name], values, rtol=1e-5)
    assert any(len(np.unique(values[:, 1])) > 1 for values in one.values())  # examples of different lengths
