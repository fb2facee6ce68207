"""Test size of experiments/diffusion/fashion_ddpm.py."""

from experiments.diffusion.fashion_ddpm import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=30)
    config.task.network.width = 16
    config.task.network.depth = 1
    config.task.network.heads = 2
    config.task.network.frequencies = 16
    config.task.steps = 2
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.network.classes = 3
    config.task.classes = 3
    config.task.fid_classifier, config.task.bits_per_dim = None, False
    config.start = None
    config.data.train = MockImages(shape=(8, 8, 1), classes=3, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(8, 8, 1), classes=3, examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
