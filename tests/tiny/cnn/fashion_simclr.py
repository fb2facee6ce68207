"""Test size of experiments/cnn/fashion_simclr.py."""

from experiments.cnn.fashion_simclr import experiment
from jaxdl.data.bank import WithBank
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.model.backbone.channels = (8, 16)
    config.task.model.backbone.depth = 1
    config.task.model.hidden = (16,)
    config.task.model.outputs = 8
    config.task.view_loss.temperature = 0.1  # a low one, so that the loss falls within few steps
    config.task.evaluation.labels = (12, 24)
    config.task.evaluation.neighbours = 3
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    bank = MockImages(shape=(12, 12, 1), classes=3, examples=48, noise=0.2)
    config.data.train = bank
    config.data.augment[0].transforms[0].size = 12
    queries = MockImages(shape=(12, 12, 1), classes=3, examples=21, split="validation", noise=0.2)
    config.data.evals = {"validation": WithBank(queries, bank)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
