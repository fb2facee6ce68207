"""Test size of experiments/cnn/fashion_mnist_convnext.py."""

from experiments.cnn.fashion_mnist_convnext import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=32, channels=(8, 16), stage_sizes=(1, 1), kernel=3, batch_size=16)
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
