"""A VAE with two hidden layers on binarized Fashion-MNIST, sized for ten minutes on two CPU cores.

Result: 233.9 test loss, 1 seed, 7.9 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_vae.py

The FID classifier is a run of experiments/cnn/fashion_mnist.py.
Without it: --set=start=None --set=task.fid_classifier=None
A convolutional one (`jaxdl.models.vae.ConvEncoder`, `ConvDecoder`) sees a tenth of the epochs in that time on a CPU.

A bound of 5,000 samples: python launch.py eval RUN --split='test[:1000]' --set=task.bound_samples=5000
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.models.convnet import ConvNet
from jaxdl.models.vae import VAE, DenseDecoder, DenseEncoder
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.likelihood import Bernoulli, Binarization
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.tasks.variational_autoencoder import VariationalAutoencoder
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adam

METRIC = "test/loss"


@auto_config
def experiment(
    steps: int = 40000,
    widths: tuple[int, ...] = (500, 500),
    latents: int = 40,
    classes: int = 0,
    shape: tuple[int, int] = (28, 28),
    binarization: Binarization = "dynamic",
    beta: float = 1.0,
    warmup: int = 4000,
    free_bits: float = 0.0,
    samples: int = 1,
    bound_samples: int = 16,
    fid_classifier: str = "runs/fashion_mnist",
    learning_rate: float = 2e-3,
    batch_size: int = 128,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=VariationalAutoencoder(
            VAE(
                encoder=DenseEncoder(widths=widths),
                decoder=DenseDecoder(widths=widths, shape=shape),
                latents=latents,
                classes=classes,
            ),
            likelihood=Bernoulli(binarization),
            beta=beta,
            warmup=warmup,
            free_bits=free_bits,
            samples=samples,
            bound_samples=bound_samples,
            fid_classifier=FIDClassifier(
                ConvNet(
                    num_classes=10,
                    channels=(32, 64, 128),
                    depth=2,
                    downsample="max",
                    halve_first=True,
                    residual=True,
                    dropout=0.1,
                ),
                normalize=Normalize(mean=0.286, std=0.353),
            ),
        ),
        data=Data(
            train=Dataset("fashion_mnist", "train[:55000]"),
            evals={"validation": Dataset("fashion_mnist", "train[55000:]")},
            test=Dataset("fashion_mnist", "test"),
            batch_size=batch_size,
            eval_batch_size=500,
        ),
        optimizers={"train": adam(learning_rate=learning_rate, steps=steps, warmup=0.05)},
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=10000,
        save_every=5000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
