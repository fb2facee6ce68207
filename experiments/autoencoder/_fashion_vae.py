"""Dense VAE of the Fashion-MNIST recipes."""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier, fashion_mnist
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.models.vae import VAE, DenseDecoder, DenseEncoder
from jaxdl.tasks.parts.likelihood import Bernoulli
from jaxdl.tasks.variational_autoencoder import VariationalAutoencoder
from jaxdl.training.optimizers import adam


@auto_config
def fashion_vae(
    widths: tuple[int, ...], latents: int, warmup: int, steps: int, fid_classifier: str, seed: int
) -> Experiment:
    """Returns the training of a VAE on dynamically binarized images; `warmup` is that of the KL."""
    return Experiment(
        task=VariationalAutoencoder(
            VAE(
                encoder=DenseEncoder(widths=widths),
                decoder=DenseDecoder(widths=widths, shape=(28, 28)),
                latents=latents,
            ),
            likelihood=Bernoulli("dynamic"),
            warmup=warmup,
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
