"""A U-Net that tells pet, background and border apart on Oxford-IIIT Pet, for a GPU.

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/pets_segmentation.py
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.image.boxes_and_masks import Mask
from jaxdl.data.image.resize import RandomResizedCrop, ResizePad
from jaxdl.data.image.transforms import ColorJitter, RandomFlip
from jaxdl.models.unet import UNet
from jaxdl.tasks.semantic_segmentation import SemanticSegmentation
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adamw

METRIC = "test/mean_iou"
FEATURES = ("image", "segmentation_mask")


@auto_config
def experiment(
    size: int = 256,
    steps: int = 10000,
    channels: tuple[int, ...] = (32, 64, 128, 256, 512),
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    dtype: str = "bfloat16",
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=SemanticSegmentation(UNet(outputs=3, channels=channels, dropout=0.2, dtype=dtype), num_classes=3),
        data=Data(
            train=Dataset("tfds:oxford_iiit_pet", "train[:90%]", features=FEATURES),
            evals={"validation": Dataset("tfds:oxford_iiit_pet", "train[90%:]", features=FEATURES)},
            test=Dataset("tfds:oxford_iiit_pet", "test", features=FEATURES),
            augment=(Mask(), RandomResizedCrop(size, scale=(0.3, 1.0)), RandomFlip(), ColorJitter(0.3, 0.3, 0.3)),
            eval_transforms=(Mask(), ResizePad(size, size)),
            batch_size=batch_size,
            workers=8,
        ),
        optimizers={"train": adamw(learning_rate=learning_rate, steps=steps, warmup=0.05, weight_decay=0.05)},
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1000,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/mean_iou"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
