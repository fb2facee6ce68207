"""Test size of experiments/rnn/speech.py."""

from experiments.rnn.speech import experiment
from jaxdl.data.synthetic.speech import MockSpeech
from jaxdl.decoding.ngrams import NGrams


def tiny():
    config = experiment.as_buildable(steps=60)
    config.task.model.features = 16
    config.task.model.dropout = 0.1
    config.data.train.joins = 8
    config.optimizers["train"].learning_rate = 0.01
    config.task.model.vocabulary = 12
    config.task.model.channels = (16, 16)
    config.task.beam = 4
    config.task.language_model = NGrams(MockSpeech(examples=40), order=3)
    config.data.train.corpus = MockSpeech(examples=40)
    config.data.evals["validation"].corpus = MockSpeech(examples=13, split="validation")
    for speech in (config.data.train, config.data.evals["validation"]):
        speech.seconds = 1.5
        speech.mels = 16
        speech.vocabulary.kind.size = 12
        speech.vocabulary.corpus = MockSpeech(examples=40)
    config.data.test = None
    config.data.batch_size = 16
    config.data.augment = ()
    return config
