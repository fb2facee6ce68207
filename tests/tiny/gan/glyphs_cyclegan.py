"""Test size of experiments/gan/glyphs_cyclegan.py."""

from experiments.gan.glyphs_cyclegan import experiment
from jaxdl.data.image.unpaired import MockPairs, TwoStyles
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.generator.width = 8
    config.task.generator.blocks = 0
    config.task.generator.size = 3
    config.task.generator.residual = False
    config.task.discriminator.channels = (8,)
    config.task.cycle = 10.0
    config.task.identity = 5.0
    config.data.batch_size = 16
    config.optimizers["generators"].learning_rate = 0.004
    config.optimizers["discriminators"].learning_rate = 0.004
    train, held = MockImages((8, 8, 1), examples=64), MockImages((8, 8, 1), examples=21, split="validation")
    config.task.pool = 2
    config.data.train = TwoStyles(MockPairs(train), "image", "negative", channels=1)
    config.data.evals = {"validation": TwoStyles(MockPairs(held), "image", "negative", paired=True, channels=1)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
