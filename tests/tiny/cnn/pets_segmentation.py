"""Test size of experiments/cnn/pets_segmentation.py."""

from experiments.cnn.pets_segmentation import experiment
from jaxdl.data.synthetic.scenes import MockScenes


def tiny():
    config = experiment.as_buildable(size=16, steps=24)
    config.task.model.channels, config.task.model.depth = (8,), 1
    config.task.model.dtype = "float32"
    config.data.batch_size = 16
    config.data.train = MockScenes(shape=(24, 20, 3), classes=2, objects=1, examples=48)
    config.data.evals = {"validation": MockScenes(shape=(24, 20, 3), classes=2, objects=1, examples=21, split="val")}
    config.data.test = None
    config.data.augment = config.data.augment[1:3]
    config.data.eval_transforms = config.data.eval_transforms[1:]
    config.data.workers = 0
    return config
