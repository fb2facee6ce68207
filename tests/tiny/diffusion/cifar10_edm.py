"""Test size of experiments/diffusion/cifar10_edm.py."""

from experiments.diffusion.cifar10_edm import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(
        steps=60,
        channels=(8, 8),
        attention=(False, True),
        blocks=0,
        dropout=0.0,
        dtype="float32",
        learning_rate=1e-2,
        warmup=1,
        batch_size=16,
        sampling_steps=2,
    )
    config.task.network.groups = 4
    config.task.network.classes = 3
    config.task.classes = 3
    config.data.train = MockImages(shape=(8, 8, 3), classes=3, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(8, 8, 3), classes=3, examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
