"""Test size of experiments/rnn/austen_chars.py."""

from experiments.rnn.austen_chars import experiment
from jaxdl.data.synthetic.text import MockText


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.model.features = 16
    config.data.train.length = 12
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.02
    config.task.model.embedding = 8
    config.task.model.buckets = 64
    config.task.new_tokens = 4
    config.data.train.corpus = MockText(examples=2, characters=1500)
    config.data.train.vocabulary.corpus = MockText(examples=2, characters=1500)
    config.data.evals["validation"].corpus = MockText(examples=1, characters=300, split="validation")
    config.data.evals["validation"].length = 12
    config.data.evals["validation"].context = 4
    config.data.test = None
    return config
