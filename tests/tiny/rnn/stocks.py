"""Test size of experiments/rnn/stocks.py."""

from experiments.rnn.stocks import experiment
from jaxdl.data.synthetic.series import MockSeries


def tiny():
    config = experiment.as_buildable(steps=40, context=12)
    config.task.model.features = 8
    config.optimizers["train"].learning_rate = 0.01
    for part, start, stop in ((config.data.train, 0.0, 0.8), (config.data.evals["validation"], 0.9, 1.0)):
        part.table = MockSeries()
        part.start, part.stop, part.stride = start, stop, 1
        part.horizon = 4
        part.season = 12
        part.season = 1
        part.covariates = ("promotion",)
        part.scales = {}
        part.regular = True
    config.ensemble = 2
    config.data.test = None
    config.data.batch_size = 16
    return config
