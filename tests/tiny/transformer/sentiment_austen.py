"""Test size of experiments/transformer/sentiment_austen.py."""

from experiments.transformer.sentiment_austen import experiment
from jaxdl.data.synthetic.text import MockSentences
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Vocabulary


def tiny():
    config = experiment.as_buildable(
        steps=40,
        length=10,
        features=16,
        layers=1,
        heads=2,
        word_dropout=0.0,
        batch_size=16,
        learning_rate=3e-2,
    )
    config.task.model.encoder.vocabulary = 48
    vocabulary = Vocabulary(BPE(48), MockSentences(examples=48))
    config.data.train = Sentences(MockSentences(examples=48), vocabulary, length=10)
    config.data.evals["validation"] = Sentences(MockSentences(examples=21, split="validation"), vocabulary, length=10)
    config.data.test = None
    config.data.eval_batch_size = None
    config.start = None
    return config
