"""Test size of experiments/transformer/vit_s16_imagenet.py."""

from experiments.transformer.vit_s16_imagenet import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24, size=32)
    config.task.model.stack.dtype = "float32"
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.model.stack.features = 16
    config.task.model.stack.layers = 1
    config.task.model.stack.heads = 2
    config.task.model.num_classes = 10
    config.data.train = MockImages(shape=(40, 36, 3), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(40, 36, 3), examples=21, split="validation")}
    config.data.mix = None
    config.data.workers = 0
    return config
