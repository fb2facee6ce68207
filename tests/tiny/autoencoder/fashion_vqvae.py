"""Test size of experiments/autoencoder/fashion_vqvae.py."""

from experiments.autoencoder.fashion_vqvae import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(
        steps=40, channels=(8,), blocks=0, codes=8, features=4, learning_rate=1e-2, batch_size=16
    )
    config.data.train = MockImages(shape=(12, 12, 1), classes=3, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), classes=3, examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
