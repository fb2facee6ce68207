"""Test size of experiments/rnn/translate_en_de.py."""

from experiments.rnn.translate_en_de import experiment
from jaxdl.data.synthetic.text import MockPairs


def tiny():
    config = experiment.as_buildable(steps=40, features=8, tokens=48, dropout=0.1)
    config.task.beam = 2
    config.optimizers["train"].learning_rate = 0.02
    config.task.model.encoder.embedding = config.task.model.decoder.embedding = 8
    config.data.train.corpus = MockPairs(examples=64)
    config.data.evals["validation"].corpus = MockPairs(examples=13, split="validation")
    for pairs in (config.data.train, config.data.evals["validation"]):
        pairs.source_length = pairs.target_length = 10
        pairs.overflow = "truncate"
        pairs.vocabulary.corpus = MockPairs(examples=64)
    config.data.test = None
    config.data.batch_size = 16
    return config
