"""VAE (784-500-500-40) on binarized Fashion-MNIST.

Result: 233.9 test loss, 1 seed, 7.9 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_vae.py

Sized for ten minutes on two CPU cores. A convolutional VAE (`ConvEncoder`, `ConvDecoder` of `jaxdl.models.vae`)
completes a tenth of the epochs in that time on a CPU.

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
Tighter bound (IWAE, 5,000 samples): python launch.py eval RUN --split='test[:1000]' --set=task.bound_samples=5000
"""

from fiddle.experimental.auto_config import auto_config

from experiments.autoencoder._fashion_vae import fashion_vae
from jaxdl import Experiment

METRIC = "test/loss"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(
    steps: int = 40000,
    widths: tuple[int, ...] = (500, 500),
    fid_classifier: str = "runs/fashion_mnist",
    seed: int = 0,
) -> Experiment:
    return fashion_vae(widths, latents=40, warmup=4000, steps=steps, fid_classifier=fid_classifier, seed=seed)
