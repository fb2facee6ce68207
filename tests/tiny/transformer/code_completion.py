"""Test size of experiments/transformer/code_completion.py."""

from experiments.transformer.code_completion import experiment
from jaxdl.data.synthetic.text import MockPairs


def tiny():
    config = experiment.as_buildable(steps=40, features=16, heads=2, tokens=48, source_length=20)
    config.task.model.encoder.layers = 1
    config.task.model.decoder.layers = 1
    config.data.train.examples.target_length = 20
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.01
    config.task.max_length = 10
    config.data.train.examples.corpus = MockPairs(examples=128)
    config.data.evals["validation"].corpus = MockPairs(examples=13, split="validation")
    config.data.evals["validation"].source_length = 10
    config.data.evals["validation"].target_length = 10
    config.data.eval_batch_size = None
    config.data.train.examples.vocabulary.corpus = MockPairs(examples=64)
    config.data.evals["validation"].vocabulary.corpus = MockPairs(examples=64)
    config.data.test = None
    return config
