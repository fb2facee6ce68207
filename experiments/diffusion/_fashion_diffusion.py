"""Parts of the Fashion-MNIST diffusion recipes: network and training, which all formulations share."""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.decoding.noise_schedules import RectifiedFlow
from jaxdl.models.dit import DiT
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.training.optimizers import adam


@auto_config
def fashion_dit() -> DiT:
    """Returns a class-conditional diffusion Transformer on 4x4 patches."""
    return DiT(outputs=1, patch=4, width=128, depth=4, heads=4, classes=10, frequencies=128)


@auto_config
def fashion_sampling() -> RectifiedFlow:
    """Returns the noise levels of sampling, with which Euler's method takes equal steps in t = sigma / (1 + sigma).

    Seven of ten levels are between 0.1 and 5, where images are decided; of EDM's levels from 80 to 0.002 four are.
    """
    return RectifiedFlow(sigma_max=80.0)


@auto_config
def fashion_diffusion(task: Diffusion, steps: int, fid_classifier: str, seed: int) -> Experiment:
    """Returns the training of one formulation of diffusion, evaluated at the end only since sampling is slow."""
    return Experiment(
        task=task,
        data=fashion_mnist(batch_size=64, validation="train[55000:57000]"),
        optimizers={"train": adam(learning_rate=2e-3, steps=steps, warmup=0.05)},
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.995,
        steps=steps,
        seed=seed,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
