"""Test size of experiments/gan/celeba.py."""

from experiments.gan.celeba import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=40, dtype="float32")
    config.task.generator.channels = (8, 8)
    config.task.discriminator.channels = (8, 8)
    config.data.batch_size = 16
    config.optimizers["discriminator"].learning_rate = 0.002
    config.optimizers["generator"].learning_rate = 0.002
    config.task.latents = 8
    config.data.train = MockImages(shape=(20, 22, 3), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(20, 22, 3), examples=21, split="validation")}
    config.data.augment[0].resize, config.data.augment[0].size = 18, 16
    config.data.eval_transforms[0].resize, config.data.eval_transforms[0].size = 18, 16
    config.data.workers = 0
    return config
