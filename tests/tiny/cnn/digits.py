"""Test size of experiments/cnn/digits.py."""

import fiddle as fdl

from experiments.cnn.digits import experiment
from jaxdl.data.image.transforms import RandomAffine
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=32)
    config.task.model.channels = (8, 16)
    config.data.train = MockImages(shape=(8, 8, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(8, 8, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.batch_size = 16
    config.data.augment = (fdl.Config(RandomAffine, translate=1.0),)
    return config
