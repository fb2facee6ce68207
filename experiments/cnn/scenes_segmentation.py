"""Which pixels are animal, flower, food or artifact: a U-Net on composed photographs of objects that it has not seen.

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/scenes_segmentation.py
"""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.color import ColorJitter
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.mock_scenes import MockScenes
from jaxdl.data.transforms import RandomFlip
from jaxdl.experiment import Experiment, Keep
from jaxdl.models.unet import UNet
from jaxdl.tasks.semantic_segmentation import semantic_segmentation
from jaxdl.training.optimizers import kernels

METRIC = "test/mean_iou"


@auto_config
def experiment(
    steps: int = 3000,
    channels: tuple[int, ...] = (16, 32, 64, 128),
    learning_rate: float = 3e-3,
    batch_size: int = 16,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=semantic_segmentation(UNet(outputs=5, channels=channels, dropout=0.2), num_classes=5),
        data=Data(
            train=Dataset("scenes", "train", features=("image", "mask")),
            evals={"validation": Dataset("scenes", "validation", features=("image", "mask"))},
            test=Dataset("scenes", "test", features=("image", "mask")),
            augment=(RandomFlip(), ColorJitter(0.3, 0.3, 0.3)),
            batch_size=batch_size,
            eval_batch_size=50,
        ),
        optimizers={
            "train": optax.adamw(
                optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 20, steps),
                weight_decay=0.05,
                mask=kernels,
            )
        },
        ema=0.998,
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=1000,
        save_every=1000,
        keep=Keep(metric="validation/mean_iou"),
    )


def tiny():
    config = experiment.as_buildable(steps=24, channels=(8, 16))
    config.task.model.outputs = config.task.num_classes = 4
    config.data.train = MockScenes(shape=(32, 32, 3), examples=48)
    config.data.evals = {"validation": MockScenes(shape=(32, 32, 3), examples=21, split="validation")}
    config.data.test = None
    config.data.augment = config.data.augment[:1]
    config.data.eval_batch_size = None
    return config


def sweep():
    return [{"seed": seed} for seed in range(3)]
