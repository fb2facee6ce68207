"""Class-conditional EDM on CIFAR-10 with the DDPM U-Net (35.7M parameters).

Result: none recorded yet
Run:    python launch.py --config=experiments/diffusion/cifar10_edm.py

Settings of Karras et al. 2022 (arXiv:2206.00364) except for their augmentation, of which only flips are used. Without
a CIFAR-10 classifier for FID, the metric is bits/dim. Sized for one GPU.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._cifar10 import cifar10
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.training.optimizers import adam

METRIC = "test/bits_per_dim"


@auto_config
def experiment(steps: int = 200_000, seed: int = 0) -> Experiment:
    return Experiment(
        task=Diffusion(
            DiffusionUNet(
                outputs=3,
                channels=(128, 256, 256, 256),
                blocks=2,
                attention=(False, True, False, False),
                classes=10,
                dropout=0.13,
                dtype="bfloat16",
            ),
            Karras(),
            LogNormal(),
            target="edm",
            classes=10,
            sampler="heun",
            steps=18,
        ),
        data=cifar10(batch_size=512, eval_batch_size=500, augment=(RandomFlip(),)),
        optimizers={"train": adam(learning_rate=1e-3, steps=steps, warmup=10_000, schedule="constant", clip_norm=1.0)},
        ema=0.9995,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=20_000,
        save_every=5000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
