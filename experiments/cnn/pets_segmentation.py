"""U-Net segmentation of Oxford-IIIT Pet: pet, background and border.

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/pets_segmentation.py

Sized for one GPU.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.boxes_and_masks import Mask
from jaxdl.data.image.resize import RandomResizedCrop, ResizePad
from jaxdl.data.image.transforms import ColorJitter, RandomFlip
from jaxdl.models.unet import UNet
from jaxdl.tasks.semantic_segmentation import SemanticSegmentation
from jaxdl.training.optimizers import adamw

METRIC = "test/mean_iou"
FEATURES = ("image", "segmentation_mask")


@auto_config
def experiment(size: int = 256, steps: int = 10000, seed: int = 0) -> Experiment:
    return Experiment(
        task=SemanticSegmentation(
            UNet(outputs=3, channels=(32, 64, 128, 256, 512), dropout=0.2, dtype="bfloat16"), num_classes=3
        ),
        data=Data(
            train=Dataset("tfds:oxford_iiit_pet", "train[:90%]", features=FEATURES),
            evals={"validation": Dataset("tfds:oxford_iiit_pet", "train[90%:]", features=FEATURES)},
            test=Dataset("tfds:oxford_iiit_pet", "test", features=FEATURES),
            augment=(Mask(), RandomResizedCrop(size, scale=(0.3, 1.0)), RandomFlip(), ColorJitter(0.3, 0.3, 0.3)),
            eval_transforms=(Mask(), ResizePad(size, size)),
            batch_size=64,
            workers=8,
        ),
        optimizers={"train": adamw(learning_rate=1e-3, steps=steps, warmup=0.05, weight_decay=0.05)},
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1000,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/mean_iou"),
    )
