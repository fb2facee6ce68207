"""Test size of experiments/cnn/imagenet_resnet50.py."""

from experiments.cnn.imagenet_resnet50 import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24, batch_size=16, size=32)
    config.task.model.dtype = "float32"
    config.optimizers["train"].learning_rate = 0.2
    config.task.model.stage_sizes = (1, 1)
    config.task.model.width = 8
    config.task.model.num_classes = 10
    config.data.train = MockImages(shape=(40, 36, 3), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(40, 36, 3), examples=21, split="validation")}
    config.data.workers = 0
    return config
