"""Test size of experiments/cnn/emoji_retrieval.py."""

from experiments.cnn.emoji_retrieval import experiment
from jaxdl.data.bank import WithBank
from jaxdl.data.image.items import ItemPairs
from jaxdl.data.image.unpaired import MockPairs
from jaxdl.data.synthetic.images import MockImages


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.model.backbone.channels = (8, 16)
    config.task.model.backbone.depth = 1
    config.task.model.outputs = 8
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    images = MockImages(shape=(12, 12, 3), classes=48, examples=48)
    config.data.train = ItemPairs(MockPairs(images), "image", "negative", mirrored=True)
    config.data.augment[0].transforms[0].size = 12
    queries = MockImages(shape=(12, 12, 3), classes=9, examples=9, split="validation", noise=0.2)
    bank = MockImages(shape=(12, 12, 3), classes=9, examples=12, noise=0.2)
    config.data.evals = {"validation": WithBank(queries, bank)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
