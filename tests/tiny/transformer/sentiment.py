"""Test size of experiments/transformer/sentiment.py."""

from experiments.transformer.sentiment import experiment
from jaxdl.data.synthetic.text import MockSentences
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Vocabulary


def tiny():
    config = experiment.as_buildable(steps=40)
    config.data.train.length = 10
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.02
    config.task.model.encoder.vocabulary = 48
    config.task.model.encoder.length = 16
    config.task.model.encoder.features = 16
    config.task.model.encoder.layers = 1
    config.task.model.encoder.heads = 2
    config.task.model.encoder.hidden = 16
    vocabulary = Vocabulary(BPE(48), MockSentences(examples=48))
    config.data.train = Sentences(MockSentences(examples=48), vocabulary, length=10, add_special_tokens=True)
    config.data.evals["validation"] = Sentences(
        MockSentences(examples=21, split="validation"), vocabulary, length=10, add_special_tokens=True
    )
    config.data.test = None
    config.data.eval_batch_size = None
    config.start = None
    return config
