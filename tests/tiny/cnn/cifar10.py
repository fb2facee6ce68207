"""Test size of experiments/cnn/cifar10.py."""

from experiments.cnn.cifar10 import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=60, batch_size=16)
    config.task.model.width = 8
    config.task.model.dtype = "float32"
    config.optimizers["train"].learning_rate = 0.2
    config.task.model.stage_sizes = (1, 1)
    config.data.train = MockImages(shape=(12, 12, 3), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 3), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    config.data.mix.alpha = 0.2  # mostly one of the two images, so that 60 steps show that it learns
    return config
