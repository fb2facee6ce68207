"""Test size of experiments/rnn/captions.py."""

from experiments.rnn.captions import experiment
from jaxdl.data.synthetic.text import MockCaptions


def tiny():
    config = experiment.as_buildable(steps=40, channels=(8, 8), features=8, dropout=0.1, beam=1, learning_rate=1e-2)
    config.task.model.decoder.vocabulary = 24
    config.task.model.decoder.embedding = 8
    config.data.train.corpus = MockCaptions(shape=(8, 8, 3), examples=48)
    config.data.evals["validation"].corpus = MockCaptions(shape=(8, 8, 3), examples=13, split="validation")
    for captioned in (config.data.train, config.data.evals["validation"]):
        captioned.length = 8
        captioned.shape = (8, 8, 3)
        captioned.vocabulary.kind.size = 24
        captioned.vocabulary.corpus = MockCaptions(shape=(8, 8, 3), examples=48)
    config.data.test = None
    config.data.batch_size = 16
    return config
