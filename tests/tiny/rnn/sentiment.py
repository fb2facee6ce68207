"""Test size of experiments/rnn/sentiment.py."""

from experiments.rnn.sentiment import experiment
from jaxdl.data.synthetic.text import MockSentences


def tiny():
    config = experiment.as_buildable(
        steps=40, features=8, embedding=8, dropout=0.1, word_dropout=0.0, learning_rate=2e-2
    )
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
