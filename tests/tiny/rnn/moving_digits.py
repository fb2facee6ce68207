"""Test size of experiments/rnn/moving_digits.py."""

from experiments.rnn.moving_digits import experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.data.video.moving_digits import MovingDigits


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.model.features = 8
    config.task.model.layers = 1
    config.task.model.states = 4
    config.task.horizon = 2
    config.optimizers["train"].learning_rate = 0.01
    digits = MockImages(shape=(4, 4, 1), examples=10)
    settings = {"context": 2, "horizon": 2, "room": 12, "size": 12, "digits": 1}
    config.data.train = MovingDigits(digits, 64, **settings)
    config.data.evals["validation"] = MovingDigits(digits, 13, **settings, seed=1)
    config.data.test = None
    config.data.batch_size = 16
    config.data.eval_batch_size = None
    return config
