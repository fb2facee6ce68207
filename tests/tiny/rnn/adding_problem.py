"""Test size of experiments/rnn/adding_problem.py."""

from experiments.rnn.adding_problem import experiment


def tiny():
    config = experiment.as_buildable(steps=60, length=8)
    config.task.model.features = 8
    config.optimizers["train"].learning_rate = 0.01
    config.data.train.examples = 256
    config.data.evals["validation"].examples = 21
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
