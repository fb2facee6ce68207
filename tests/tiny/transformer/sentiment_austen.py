"""Test size of experiments/transformer/sentiment_austen.py."""

from experiments.transformer.sentiment_austen import experiment
from jaxdl.data.synthetic.text import MockSentences
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Vocabulary


def tiny():
    config = experiment.as_buildable(steps=40, layers=1)
    config.task.model.encoder.stack.features = 16
    config.task.model.encoder.stack.heads = 2
    config.task.model.encoder.word_dropout = 0.0
    config.data.train.length = 10
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.03
    config.task.model.encoder.vocabulary = 48
    vocabulary = Vocabulary(BPE(48), MockSentences(examples=48))
    config.data.train = Sentences(MockSentences(examples=48), vocabulary, length=10)
    config.data.evals["validation"] = Sentences(MockSentences(examples=21, split="validation"), vocabulary, length=10)
    config.data.test = None
    config.data.eval_batch_size = None
    config.start = None
    return config
