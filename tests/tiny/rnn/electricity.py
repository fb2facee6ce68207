"""Test size of experiments/rnn/electricity.py."""

from experiments.rnn.electricity import experiment
from jaxdl.data.synthetic.series import MockSeries


def tiny():
    config = experiment.as_buildable(steps=40, context=12)
    config.task.model.features = 8
    config.task.model.dropout = 0.1
    config.optimizers["train"].learning_rate = 0.01
    for part, start, stop in ((config.data.train, 0.0, 0.8), (config.data.evals["validation"], 0.9, 1.0)):
        part.table = MockSeries()
        part.start, part.stop, part.stride = start, stop, 1
        part.horizon = 4
        part.season = 12
        part.known = ("promotion",)
        part.lags = (12, 24)
        part.periods = (12,)
        part.scales = {}
    config.ensemble = 2
    config.data.test = None
    config.data.batch_size = 16
    return config
