"""Test size of experiments/transformer/summarize.py."""

from experiments.transformer.summarize import experiment
from jaxdl.data.synthetic.text import MockPairs


def tiny():
    config = experiment.as_buildable(steps=40, features=16, heads=2, tokens=48, length=10)
    config.task.model.encoder.layers = 1
    config.task.model.decoder.layers = 1
    config.task.beam = 1
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.01
    config.data.train.corpus = MockPairs(examples=64)
    config.data.evals["validation"].corpus = MockPairs(examples=13, split="validation")
    for pairs in (config.data.train, config.data.evals["validation"]):
        pairs.target_length = 10
        pairs.vocabulary.corpus = MockPairs(examples=64)
    config.data.test = None
    return config
