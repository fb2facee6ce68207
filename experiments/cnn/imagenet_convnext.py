"""ConvNeXt-T on ImageNet-1k, 300 epochs at batch size 4,096 (arXiv:2201.03545).

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/imagenet_convnext.py --set=accumulate=4

The reference recipe of Liu et al. 2022, without CutMix, RandAugment and random erasing.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._imagenet import imagenet, imagenet_normalize
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.mixup import Mixup
from jaxdl.models.convnext import convnext_tiny
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import adamw

METRIC = "validation/accuracy"


@auto_config
def experiment(steps: int = 93835, batch_size: int = 4096, size: int = 224, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(
            convnext_tiny(num_classes=1000, depthwise="convolution", stochastic_depth=0.1, dtype="bfloat16"),
            label_smoothing=0.1,
            normalize=imagenet_normalize(),
            top=(1, 5),
        ),
        data=imagenet(size, batch_size, mix=Mixup(0.8)),
        optimizers={
            "train": adamw(learning_rate=4e-3, steps=steps, warmup=1 / 15, weight_decay=0.05)  # 20 of 300 epochs
        },
        ema=0.9999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1564,  # 5 epochs
        save_every=313,  # 1 epoch of 1,281,167 images
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
