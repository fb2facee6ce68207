"""Test size of experiments/diffusion/emoji.py."""

from experiments.diffusion.emoji import experiment
from jaxdl.data.image.unpaired import MockPairs, Styles
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=30)
    config.task.network.channels = (8,)
    config.task.network.blocks = 0
    config.task.network.attention = (False,)
    config.task.network.patch = 2
    config.task.steps = 2
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.network.groups = 4
    train, held = MockImages((8, 8, 3), examples=24), MockImages((8, 8, 3), examples=11, split="validation")
    config.data.train = Styles(MockPairs(train), ("image", "negative"))
    config.data.evals = {"validation": Styles(MockPairs(held), ("image", "negative"))}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
