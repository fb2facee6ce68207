"""Test size of experiments/rnn/captions.py."""

from experiments.rnn.captions import experiment
from jaxdl.data.synthetic.text import MockCaptions


def tiny():
    config = experiment.as_buildable(steps=40, features=8)
    config.task.model.encoder.backbone.channels = (8, 8)
    config.task.model.decoder.dropout = 0.1
    config.task.beam = 1
    config.optimizers["train"].learning_rate = 0.01
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
