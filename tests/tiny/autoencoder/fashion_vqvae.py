"""Test size of experiments/autoencoder/fashion_vqvae.py."""

from experiments.autoencoder.fashion_vqvae import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.model.channels = (8,)
    config.task.model.codes = 8
    config.task.model.features = 4
    config.task.model.blocks = 0
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.data.train = MockImages(shape=(12, 12, 1), classes=3, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), classes=3, examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
