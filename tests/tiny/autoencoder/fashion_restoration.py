"""Test size of experiments/autoencoder/fashion_restoration.py."""

from experiments.autoencoder.fashion_restoration import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.model.network.channels = (8,)
    config.task.model.network.depth = 1
    config.data.batch_size = 16
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.0)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation", noise=0.0)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
