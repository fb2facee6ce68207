"""Test size of experiments/cnn/emoji_categories.py."""

from experiments.cnn.emoji_categories import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.model.channels = (8, 16)
    config.task.model.num_classes = 3
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.data.train = MockImages(shape=(12, 12, 3), classes=3, examples=48, noise=0.2)
    config.data.evals = {
        "validation": MockImages(shape=(12, 12, 3), classes=3, examples=21, split="validation", noise=0.2)
    }
    config.data.test = None
    config.data.eval_batch_size = None
    return config
