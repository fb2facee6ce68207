"""Convolutional autoencoder on Fashion-MNIST with a 32-dimensional code.

Result: 0.00859 test mse, 1 seed, 6.2 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_autoencoder.py

The code has 4% of the numbers of an image; the metric is the reconstruction MSE.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist, fashion_normalize
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.models.autoencoder import ConvAutoencoder
from jaxdl.tasks.reconstruction import Reconstruction
from jaxdl.training.optimizers import adamw

METRIC = "test/mse"


@auto_config
def experiment(steps: int = 3000, seed: int = 0) -> Experiment:
    return Experiment(
        task=Reconstruction(
            ConvAutoencoder((28, 28, 1), 32, channels=(32, 64), depth=1), normalize=fashion_normalize()
        ),
        data=fashion_mnist(batch_size=128),
        optimizers={"train": adamw(learning_rate=2e-3, steps=steps, warmup=0.05, weight_decay=1e-4)},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1000,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/mse", mode="min"),
    )
