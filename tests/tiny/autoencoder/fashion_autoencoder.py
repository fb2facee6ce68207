"""Test size of experiments/autoencoder/fashion_autoencoder.py."""

from experiments.autoencoder.fashion_autoencoder import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.model.shape = (12, 12, 1)
    config.task.model.code = 4
    config.task.model.channels = (8,)
    config.data.batch_size = 16
    config.data.train = MockImages(shape=(12, 12, 1), classes=4, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages((12, 12, 1), classes=4, examples=21, split="validation", noise=0.2)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
