"""Test size of experiments/cnn/fashion_mnist_convnext.py."""

from experiments.cnn.fashion_mnist_convnext import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=32)
    config.task.model.stage_sizes = (1, 1)
    config.task.model.channels = (8, 16)
    config.task.model.kernel = 3
    config.data.batch_size = 16
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
