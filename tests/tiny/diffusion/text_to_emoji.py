"""Test size of experiments/diffusion/text_to_emoji.py."""

from experiments.diffusion.text_to_emoji import experiment
from jaxdl.data.synthetic.images import MockEmbeddings, MockImages
from jaxdl.models.convnet import ConvNet


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.network.width = 16
    config.task.network.depth = 1
    config.task.network.heads = 2
    config.task.network.frequencies = 16
    config.task.steps = 2
    config.task.embedding = 3
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.fid_classifier.network = ConvNet(num_classes=3, channels=(8,), depth=1)
    config.start = None
    train = MockImages(shape=(8, 8, 3), classes=3, examples=48, noise=0.2)
    held = MockImages(shape=(8, 8, 3), classes=3, examples=21, split="validation")
    config.data.train = MockEmbeddings(train)
    config.data.evals = {"validation": MockEmbeddings(held)}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
