"""ViT-S/16 on ImageNet-1k, 90 epochs at batch size 1,024 (arXiv:2205.01580).

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/vit_s16_imagenet.py

The plain ViT baseline of Beyer et al. 2022.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._imagenet import imagenet
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.mixup import Mixup
from jaxdl.models.transformer import Stack
from jaxdl.models.vit import VisionTransformer
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.optimizers import adamw

METRIC = "validation/accuracy"


@auto_config
def experiment(steps: int = 112590, size: int = 224, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(
            VisionTransformer(
                num_classes=1000,
                patch=16,
                stack=Stack(features=384, layers=12, heads=6, positions="none", init_std=None, dtype="bfloat16"),
            ),
            normalize=Normalize(mean=0.5, std=0.5),
            top=(1, 5),
        ),
        data=imagenet(size, batch_size=1024, mix=Mixup(0.2)),
        optimizers={
            # Warmup, weight decay and clipping of the paper.
            "train": adamw(learning_rate=1e-3, steps=steps, warmup=10_000 / 112_590, weight_decay=0.1, clip_norm=1.0)
        },
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=6255,  # 5 epochs
        save_every=1251,  # 1 epoch of 1,281,167 images
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
