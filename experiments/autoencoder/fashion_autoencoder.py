"""Fashion-MNIST through a code of 32 numbers and back: a convolutional autoencoder.

Result: 0.00859 test mse, 1 seed, 6.2 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_autoencoder.py
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.models.autoencoder import ConvAutoencoder
from jaxdl.tasks.reconstruction import reconstruction
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adamw

METRIC = "test/mse"


@auto_config
def experiment(
    steps: int = 3000,
    shape: tuple[int, int, int] = (28, 28, 1),
    code: int = 32,
    channels: tuple[int, ...] = (32, 64),
    depth: int = 1,
    learning_rate: float = 2e-3,
    batch_size: int = 128,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=reconstruction(ConvAutoencoder(shape, code, channels=channels, depth=depth), mean=0.286, std=0.353),
        data=Data(
            train=Dataset("fashion_mnist", "train[:55000]"),
            evals={"validation": Dataset("fashion_mnist", "train[55000:]")},
            test=Dataset("fashion_mnist", "test"),
            batch_size=batch_size,
            eval_batch_size=500,
        ),
        optimizers={"train": adamw(learning_rate=learning_rate, steps=steps, warmup=0.05, weight_decay=1e-4)},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1000,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/mse", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
