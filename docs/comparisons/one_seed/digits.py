"""Optimizers on the digits of scikit-learn: a ConvNet, 300 steps."""

from fiddle.experimental.auto_config import auto_config
from optimizers import optimizer

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.transforms import RandomAffine
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.image_classification import ImageClassification

METRIC = "test/accuracy"
RATES = {
    "sgd": 0.1,
    "rmsprop": 3e-3,
    "adam": 3e-3,
    "nadam": 3e-3,
    "adabelief": 3e-3,
    "lion": 5e-4,
    "muon": 1e-2,
    "schedule_free": 1e-2,
}


@auto_config
def experiment(name: str = "adam", scale: float = 1.0, steps: int = 300, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(ConvNet(num_classes=10, channels=(32, 64), dropout=0.2), label_smoothing=0.1),
        data=Data(
            train=Dataset("digits", "train[:90%]"),
            evals={"validation": Dataset("digits", "train[90%:]")},
            test=Dataset("digits", "test"),
            augment=(RandomAffine(degrees=12, translate=1.0, scale=(0.88, 1.12), shear=8),),
            batch_size=128,
        ),
        optimizers={"train": optimizer(name, RATES, steps, scale)},
        steps=steps,
        seed=seed,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
