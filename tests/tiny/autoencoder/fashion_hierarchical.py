"""Test size of experiments/autoencoder/fashion_hierarchical.py."""

from experiments.autoencoder.fashion_hierarchical import experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.norms import group_norm


def tiny():
    config = experiment.as_buildable(
        steps=60,
        channels=(8,),
        latents=(2,),
        top=4,
        learning_rate=1e-2,
        shape=(12, 12),
        binarization="threshold",
        bound_samples=3,
        batch_size=16,
    )
    config.task.fid_classifier.network = ConvNet(num_classes=3, channels=(8,), depth=1, norm=group_norm)
    config.start = None
    config.data.train = MockImages(shape=(12, 12, 1), classes=3, examples=48, noise=0.2)
    config.data.evals = {"validation": MockImages(shape=(12, 12, 1), classes=3, examples=21, split="validation")}
    config.data.test = None
    config.data.eval_batch_size = None
    return config
