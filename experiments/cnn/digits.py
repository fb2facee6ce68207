"""ConvNet on scikit-learn's 8x8 digits.

Result: 0.997 +- 0.002 test accuracy, 5 seeds, 0.61 min on Intel(R) Xeon(R) Processor @ 2.50GHz (2 cores)
Run:    python launch.py --config=experiments/cnn/digits.py

The smallest recipe: the data comes with scikit-learn and a run takes less than a minute.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.transforms import RandomAffine
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import adamw

METRIC = "test/accuracy"


@auto_config
def experiment(steps: int = 800, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(ConvNet(num_classes=10, channels=(32, 64), dropout=0.2), label_smoothing=0.1),
        data=Data(
            train=Dataset("digits", "train[:90%]"),
            evals={"validation": Dataset("digits", "train[90%:]")},
            test=Dataset("digits", "test"),
            augment=(RandomAffine(degrees=12, translate=1.0, scale=(0.88, 1.12), shear=8),),
            batch_size=128,
        ),
        optimizers={"train": adamw(learning_rate=4e-3, steps=steps, warmup=0.1, weight_decay=0.02)},
        ema=0.995,
        steps=steps,
        seed=seed,
        eval_every=200,
        save_every=200,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )


def sweep():
    return [{"seed": seed, "task.model.channels": channels} for seed in range(5) for channels in ((16, 32), (32, 64))]
