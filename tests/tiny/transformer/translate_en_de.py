"""Test size of experiments/transformer/translate_en_de.py."""

from experiments.transformer.translate_en_de import experiment
from jaxdl.data.synthetic.text import MockPairs


def tiny():
    config = experiment.as_buildable(steps=40, features=16, heads=2, tokens=48)
    config.task.model.encoder.layers = 1
    config.task.model.decoder.layers = 1
    config.task.beam = 2
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.01
    config.task.model.length = 32
    config.data.train.examples.corpus = MockPairs(examples=128)
    config.data.evals["validation"].corpus = MockPairs(examples=13, split="validation")
    for pairs in (config.data.train.examples, config.data.evals["validation"]):
        pairs.source_length = pairs.target_length = 10
        pairs.overflow = "truncate"
        pairs.vocabulary.corpus = MockPairs(examples=64)
    config.data.train.examples.source_length = config.data.train.examples.target_length = 20
    config.data.test = None
    config.data.eval_batch_size = None
    return config
