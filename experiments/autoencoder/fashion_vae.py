"""VAE (784-500-500-40) on binarized Fashion-MNIST.

Result: 233.9 test loss, 1 seed, 7.9 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/autoencoder/fashion_vae.py

Sized for ten minutes on two CPU cores. A convolutional VAE (`ConvEncoder`, `ConvDecoder` of `jaxdl.models.vae`)
completes a tenth of the epochs in that time on a CPU.
The VAE of Kingma & Welling 2014 (784-500-20; test loss 235.9 in 9.9 min):
--set='widths=(500,)' --set=task.model.latents=20 --set=task.warmup=0 --set=steps=70000

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
Tighter bound (IWAE, 5,000 samples): python launch.py eval RUN --split='test[:1000]' --set=task.bound_samples=5000
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier, fashion_mnist
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.models.vae import VAE, DenseDecoder, DenseEncoder
from jaxdl.tasks.parts.likelihood import Bernoulli
from jaxdl.tasks.variational_autoencoder import VariationalAutoencoder
from jaxdl.training.optimizers import adam

METRIC = "test/loss"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(
    steps: int = 40000,
    widths: tuple[int, ...] = (500, 500),
    fid_classifier: str = "runs/fashion_mnist",
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=VariationalAutoencoder(
            VAE(
                encoder=DenseEncoder(widths=widths),
                decoder=DenseDecoder(widths=widths, shape=(28, 28)),
                latents=40,
            ),
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
        eval_every=10000,
        save_every=5000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
