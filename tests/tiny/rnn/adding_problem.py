"""Test size of experiments/rnn/adding_problem.py."""

from experiments.rnn.adding_problem import experiment


def tiny():
    config = experiment.as_buildable(steps=60, length=8, features=8, learning_rate=1e-2)
    config.data.train.examples = 256
    config.data.evals["validation"].examples = 21
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
