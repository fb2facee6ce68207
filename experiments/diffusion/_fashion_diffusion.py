"""Parts of the Fashion-MNIST diffusion recipes: U-Net and training, which all formulations share."""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.training.optimizers import adam


@auto_config
def fashion_unet() -> DiffusionUNet:
    """Returns a class-conditional U-Net on 2x2 patches, without attention."""
    return DiffusionUNet(
        outputs=1,
        channels=(32, 96),
        blocks=1,
        attention=(False, False),
        classes=10,
        groups=8,
        patch=2,
    )


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
