"""Test size of experiments/cnn/faces.py."""

from experiments.cnn.faces import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=60)
    config.task.model.channels = (8, 16)
    config.data.train = MockImages(shape=(9, 9, 1), classes=2, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(9, 9, 1), classes=2, examples=21, split="validation")}
    config.data.test = None
    config.data.batch_size = 16
    return config
