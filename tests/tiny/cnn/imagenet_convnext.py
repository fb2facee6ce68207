"""Test size of experiments/cnn/imagenet_convnext.py."""

from experiments.cnn.imagenet_convnext import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=32, batch_size=16, size=16)
    config.task.model.dtype = "float32"
    config.task.model.depthwise = "shifted"  # the default, with a gradient rule
    config.task.model.stage_sizes = (1, 1)
    config.task.model.channels = (8, 16)
    config.task.model.patch = 2
    config.task.model.kernel = 3
    config.task.model.layer_scale = 0.1
    config.task.model.num_classes = 10
    config.optimizers["train"].learning_rate = 2e-3
    config.ema = 0.99
    config.data.train = MockImages(shape=(20, 18, 3), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(20, 18, 3), examples=21, split="validation")}
    config.data.workers = 0
    return config
