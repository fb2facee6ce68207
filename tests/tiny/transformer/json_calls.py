"""Test size of experiments/transformer/json_calls.py."""

from experiments.transformer.json_calls import experiment
from jaxdl.data.synthetic.text import MockPairs


def tiny():
    config = experiment.as_buildable(steps=40, features=16, tokens=48)
    config.task.model.encoder.layers = config.task.model.decoder.layers = 1
    config.task.grammar.pattern = "[a-z]+( [a-z]+)*"
    config.task.grammar.vocabulary.corpus = MockPairs(examples=64)
    config.task.model.length = 20
    config.task.max_length = 16
    config.optimizers["train"].adam_learning_rate = 0.01
    config.data.train.examples.corpus = MockPairs(examples=128)
    config.data.evals["validation"].corpus = MockPairs(examples=13, split="validation")
    for pairs, length in ((config.data.train.examples, 20), (config.data.evals["validation"], 10)):
        pairs.source_length = pairs.target_length = length
        pairs.vocabulary.corpus = MockPairs(examples=64)
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
