"""Test size of experiments/cnn/scenes_detection.py."""

from experiments.cnn.scenes_detection import experiment
from jaxdl.data.synthetic.scenes import MockScenes


def tiny():
    config = experiment.as_buildable(steps=30)
    config.task.model.backbone.stage_sizes = (1, 1)
    config.task.model.backbone.width = 8
    config.task.model.channels = 8
    config.task.model.num_classes = config.task.num_classes = 3
    config.task.names = ()
    config.task.model.levels = (0, 1)
    config.task.model.head_depth = 1
    config.data.train = MockScenes(shape=(32, 32, 3), examples=48)
    config.data.evals = {"validation": MockScenes(shape=(32, 32, 3), examples=21, split="validation")}
    config.data.test = None
    config.data.augment = config.data.augment[1:2]
    config.data.eval_transforms = ()
    config.data.eval_batch_size = None
    return config
