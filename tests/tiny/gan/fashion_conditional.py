"""Test size of experiments/gan/fashion_conditional.py."""

from experiments.gan.fashion_conditional import experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.norms import group_norm


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.generator.channels = (8, 8)
    config.task.discriminator.channels = (8,)
    config.data.batch_size = 16
    config.optimizers["discriminator"].learning_rate = 0.002
    config.optimizers["generator"].learning_rate = 0.002
    config.task.generator.size = 3
    config.task.generator.norm = group_norm
    config.task.discriminator.halvings = 1
    config.task.latents = 8
    config.task.fid_classifier.network = ConvNet(num_classes=10, channels=(8,), depth=1)
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    config.start = None
    return config
