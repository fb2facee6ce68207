"""Test size of experiments/cnn/fashion_mnist_large.py."""

from experiments.cnn.fashion_mnist_large import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=60, blocks=1, batch_size=16)
    config.task.model.width = 8
    config.task.model.dtype = "float32"
    config.optimizers["train"].learning_rate = 0.6
    config.task.model.stage_sizes = (1, 1)
    config.task.model.dropout = 0.1
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
