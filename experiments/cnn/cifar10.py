"""Wide ResNet with CutMix on CIFAR-10.

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/cifar10.py

Sized for one GPU.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._cifar10 import cifar10
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.mixup import CutMix
from jaxdl.data.image.transforms import RandomCrop, RandomFlip
from jaxdl.models.resnet import ResNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.optimizers import sgd

METRIC = "test/accuracy"


@auto_config
def experiment(steps: int = 39000, batch_size: int = 128, seed: int = 0) -> Experiment:
    peak = 0.1 * batch_size / 128
    return Experiment(
        task=ImageClassification(
            ResNet(stage_sizes=(4, 4, 4), num_classes=10, width=128, dtype="bfloat16"),
            label_smoothing=0.1,
            normalize=Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        ),
        data=cifar10(
            batch_size=batch_size,
            eval_batch_size=1000,
            augment=(RandomCrop(4, mode="reflect"), RandomFlip()),
            mix=CutMix(1.0),
        ),
        optimizers={"train": sgd(learning_rate=peak, steps=steps, warmup=0.05, weight_decay=5e-4)},
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=3000,
        save_every=3000,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
