"""ResNet-50 on ImageNet-1k, 90 epochs at batch size 1,024 (arXiv:1706.02677).

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/imagenet_resnet50.py

The reference recipe of Goyal et al. 2017, with linear scaling of the learning rate.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._imagenet import imagenet, imagenet_normalize
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.models.resnet import resnet50
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import sgd

METRIC = "validation/accuracy"


@auto_config
def experiment(steps: int = 112590, batch_size: int = 1024, size: int = 224, seed: int = 0) -> Experiment:
    peak = 0.1 * batch_size / 256  # linear scaling, section 2.1 of the paper
    return Experiment(
        task=ImageClassification(
            resnet50(num_classes=1000, dtype="bfloat16"),
            label_smoothing=0.1,
            normalize=imagenet_normalize(),
            top=(1, 5),
        ),
        data=imagenet(size, batch_size),
        optimizers={"train": sgd(learning_rate=peak, steps=steps, warmup=1 / 18, weight_decay=5e-5)},  # 5 of 90 epochs
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=6255,  # 5 epochs
        save_every=1251,  # 1 epoch of 1,281,167 images
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
