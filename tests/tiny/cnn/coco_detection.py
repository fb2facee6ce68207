"""Test size of experiments/cnn/coco_detection.py."""

from experiments.cnn.coco_detection import experiment
from jaxdl.data.synthetic.scenes import MockScenes


def tiny():
    config = experiment.as_buildable(steps=30, num_classes=3, dtype="float32")
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.003
    config.optimizers["train"].warmup = 3
    config.task.model.backbone.stage_sizes = (1,)
    config.task.model.backbone.width = 8
    config.task.model.levels = (0, 0)
    config.task.model.extra_levels = 0
    config.task.model.channels = 8
    config.task.model.head_depth = 1
    config.ema = 0.9
    config.data.train = MockScenes(shape=(32, 32, 3), examples=48)
    config.data.evals = {"validation": MockScenes(shape=(32, 32, 3), examples=21, split="validation")}
    config.data.augment = (config.data.augment[1],)
    config.data.eval_transforms = ()
    config.data.workers = 0
    return config
