"""VAE (784-500-20, Kingma & Welling 2014) on binarized Fashion-MNIST.

Result: 235.9 test loss, 1 seed, 9.9 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_vae_baseline.py

Baseline of fashion_vae with the same training time.

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
    steps: int = 70000,
    width: int = 500,
    fid_classifier: str = "runs/fashion_mnist",
    seed: int = 0,
) -> Experiment:
    return fashion_vae((width,), latents=20, warmup=0, steps=steps, fid_classifier=fid_classifier, seed=seed)
