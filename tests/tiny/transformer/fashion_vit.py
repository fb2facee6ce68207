"""Test size of experiments/transformer/fashion_vit.py."""

from experiments.transformer.fashion_vit import experiment
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=60, dropout=0.0)
    config.task.model.stack.features = 16
    config.task.model.stack.layers = 1
    config.task.model.stack.heads = 2
    config.task.model.stem = (8, 8)
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.02
    config.data.train = MockImages(shape=(12, 12, 1), examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
