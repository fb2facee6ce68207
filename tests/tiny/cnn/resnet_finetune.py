"""Test size of experiments/cnn/resnet_finetune.py."""

from experiments.cnn.resnet_finetune import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24, size=32)
    config.task.model.dtype = "float32"
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.5
    config.start = None
    config.task.model.stage_sizes = (1, 1)
    config.task.model.width = 8
    config.task.model.num_classes = 10
    config.data.train = MockImages(shape=(40, 36, 3), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(40, 36, 3), examples=21, split="validation")}
    config.data.test = None
    return config
