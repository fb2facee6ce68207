"""Wide ResNet on Fashion-MNIST.

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/fashion_mnist_large.py

Sized for one GPU.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist, fashion_normalize
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.transforms import RandomCrop, RandomErasing, RandomFlip
from jaxdl.models.resnet import ResNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import sgd

METRIC = "test/accuracy"


@auto_config
def experiment(steps: int = 20000, blocks: int = 4, batch_size: int = 256, seed: int = 0) -> Experiment:
    peak = 0.1 * batch_size / 256
    return Experiment(
        task=ImageClassification(
            ResNet(stage_sizes=(blocks, blocks, blocks), num_classes=10, width=128, dropout=0.2, dtype="bfloat16"),
            label_smoothing=0.1,
            normalize=fashion_normalize(),
        ),
        data=fashion_mnist(
            batch_size=batch_size,
            eval_batch_size=1000,
            augment=(RandomCrop(2), RandomFlip(), RandomErasing(probability=0.5)),
        ),
        optimizers={"train": sgd(learning_rate=peak, steps=steps, warmup=0.05, weight_decay=5e-4)},
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=2000,
        save_every=2000,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
