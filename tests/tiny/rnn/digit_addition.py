"""Test size of experiments/rnn/digit_addition.py."""

from experiments.rnn.digit_addition import experiment


def tiny():
    config = experiment.as_buildable(steps=24, features=8, digits=2)
    config.optimizers["train"].learning_rate = 0.02
    config.data.train.corpus.examples = 64
    config.data.evals["validation"].corpus.examples = 13
    for pairs in (config.data.train, config.data.evals["validation"]):
        pairs.vocabulary.corpus.examples = 64
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
