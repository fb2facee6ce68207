"""Test size of experiments/rnn/sentiment.py."""

from experiments.rnn.sentiment import experiment
from jaxdl.data.synthetic.text import MockSentences


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.model.features = 8
    config.task.model.embedding = 8
    config.task.model.dropout = 0.1
    config.task.model.word_dropout = 0.0
    config.optimizers["train"].learning_rate = 0.02
    config.task.model.vocabulary = 32
    config.data.train.corpus = MockSentences(examples=48)
    config.data.evals["validation"].corpus = MockSentences(examples=21, split="validation")
    for sentences in (config.data.train, config.data.evals["validation"]):
        sentences.length = 8
        sentences.vocabulary.kind.size = 32
        sentences.vocabulary.corpus = MockSentences(examples=48)
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
