"""Test size of experiments/autoencoder/fashion_hierarchical.py."""

from experiments.autoencoder.fashion_hierarchical import experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.norms import group_norm


def tiny():
    config = experiment.as_buildable(steps=30)
    config.task.model.widths, config.task.model.latents, config.task.model.shape = (16,), (4, 3), (8, 8)
    config.task.warmup = 0
    config.task.likelihood.binarization = "threshold"
    config.task.bound_samples = 3
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.fid_classifier.network = ConvNet(num_classes=3, channels=(8,), depth=1, norm=group_norm)
    config.start = None
    config.data.train = MockImages(shape=(8, 8, 1), classes=3, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(8, 8, 1), classes=3, examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
