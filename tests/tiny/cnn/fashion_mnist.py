"""Test size of experiments/cnn/fashion_mnist.py."""

from experiments.cnn.fashion_mnist import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.model.channels = (8, 16)
    config.data.batch_size = 16
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
