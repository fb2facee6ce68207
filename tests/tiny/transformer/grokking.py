"""Test size of experiments/transformer/grokking.py."""

from experiments.transformer.grokking import experiment


def tiny():
    config = experiment.as_buildable(steps=32)
    config.task.model.encoder.vocabulary = 8
    config.task.model.encoder.stack.features = 16
    config.task.model.outputs = 7
    for data in (config.data.train, config.data.evals["validation"]):
        data.modulus = 7
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
