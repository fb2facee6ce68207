"""Hierarchical (ladder) VAE with two levels of latents on binarized Fashion-MNIST.

Result: 241.8 test loss, 1 seed, 9.9 min, 26 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_hierarchical.py

The result is that of the former configuration: a convolutional ladder, `jaxdl.models.hierarchical_vae.LadderVAE`.

Sized for ten minutes on two CPU cores, in which dense layers see the training set 38 times, convolutions six times.

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
Tighter bound (IWAE, 5,000 samples): python launch.py eval RUN --split='test[:1000]' --set=task.bound_samples=5000
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier, fashion_mnist
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.models.dense_ladder_vae import DenseLadderVAE
from jaxdl.tasks.parts.likelihood import Bernoulli
from jaxdl.tasks.variational_autoencoder import VariationalAutoencoder
from jaxdl.training.optimizers import adam

METRIC = "test/loss"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(steps: int = 18000, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return Experiment(
        task=VariationalAutoencoder(
            DenseLadderVAE(widths=(500, 500), latents=(40, 20)),
            likelihood=Bernoulli("dynamic"),
            warmup=4000,
            fid_classifier=fashion_fid_classifier(),
        ),
        data=fashion_mnist(batch_size=128),
        optimizers={"train": adam(learning_rate=2e-3, steps=steps, warmup=0.05)},
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.999,
        steps=steps,
        seed=seed,
        eval_every=6000,
        save_every=6000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
