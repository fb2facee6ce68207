"""Test size of experiments/cnn/brain_tissue.py."""

from experiments.cnn.brain_tissue import experiment
from jaxdl.data.synthetic.scenes import MockScenes


def tiny():
    config = experiment.as_buildable(steps=24)
    config.task.model.channels, config.task.model.depth = (8, 16), 1
    config.task.model.outputs, config.task.num_classes = 4, 4
    config.data.batch_size = 16
    config.data.train = MockScenes(shape=(16, 16, 1), examples=48)
    config.data.evals = {"validation": MockScenes(shape=(16, 16, 1), examples=21, split="validation")}
    config.data.test = None
    config.data.augment = config.data.augment[1:2]
    config.data.eval_batch_size = None
    return config
