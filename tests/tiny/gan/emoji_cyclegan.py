"""Test size of experiments/gan/emoji_cyclegan.py."""

from experiments.gan.emoji_cyclegan import experiment
from jaxdl.data.image.unpaired import MockPairs, TwoStyles
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(
        steps=40,
        width=8,
        blocks=0,
        kernel=3,
        residual=False,
        channels=(8,),
        cycle=10.0,
        identity=5.0,
        learning_rate=4e-3,
        batch_size=16,
    )
    train, held = MockImages((12, 12, 3), examples=64), MockImages((12, 12, 3), examples=21, split="validation")
    config.task.pool = 2
    config.data.train = TwoStyles(MockPairs(train), "image", "negative")
    config.data.evals = {"validation": TwoStyles(MockPairs(held), "image", "negative", paired=True)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
