"""One-stage detector (FCOS) with a ResNet-50 FPN on COCO.

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/coco_detection.py
        ... --set=dataset=tfds:voc/2007 --set=num_classes=20
        ... --set=dataset=coco:~/mine --set=num_classes=3 --set=train=train2017 --set=validation=val2017

Sized for GPUs. Other TFDS data sets and folders in COCO's layout are arguments, as are the names of their splits.
"""

from fiddle.experimental.auto_config import auto_config, auto_unconfig

from experiments._imagenet import imagenet_normalize
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.boxes_and_masks import Objects
from jaxdl.data.image.resize import RandomScale, ResizePad
from jaxdl.data.image.transforms import ColorJitter, RandomFlip
from jaxdl.models.fpn import Detector
from jaxdl.models.resnet import resnet50
from jaxdl.tasks.object_detection import ObjectDetection
from jaxdl.training.optimizers import adamw

METRIC = "validation/map"


@auto_unconfig
def features_of(dataset: str) -> tuple[str, ...]:
    """What to load: regions of a crowd are marked in COCO only."""
    crowd = ("objects/is_crowd",) if "coco" in dataset else ()
    return ("image", "objects/bbox", "objects/label", *crowd)


@auto_config
def experiment(
    dataset: str = "tfds:coco/2017",
    train: str = "train",
    validation: str = "validation",
    num_classes: int = 80,
    size: int = 512,
    steps: int = 90000,
    dtype: str = "bfloat16",
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=ObjectDetection(
            Detector(
                num_classes=num_classes,
                backbone=resnet50(dtype=dtype),
                levels=(1, 3),
                extra_levels=2,
                channels=256,
                head_depth=4,
                dtype=dtype,
            ),
            num_classes=num_classes,
            normalize=imagenet_normalize(),
            candidates=1000,
            limit=100,
        ),
        data=Data(
            train=Dataset(dataset, train, features=features_of(dataset)),
            evals={"validation": Dataset(dataset, validation, features=features_of(dataset))},
            augment=(
                Objects(100, drop_empty=True),
                RandomFlip(),
                RandomScale(size, size, scale=(0.5, 1.5)),
                ColorJitter(0.2, 0.2, 0.2),
            ),
            eval_transforms=(Objects(100, drop_empty=True), ResizePad(size, size)),
            batch_size=32,
            workers=8,
        ),
        optimizers={"train": adamw(learning_rate=2e-4, steps=steps, warmup=1000, weight_decay=0.05, clip_norm=10.0)},
        ema=0.9998,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=5000,
        save_every=2500,
        keep=CheckpointPolicy(metric="validation/map"),
    )
