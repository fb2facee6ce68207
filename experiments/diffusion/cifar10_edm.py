"""Diffusion by EDM on CIFAR-10 by class: DDPM's U-Net of 35.7 million parameters, sized for a GPU.

Result: none recorded yet
Run:    python launch.py --config=experiments/diffusion/cifar10_edm.py

The settings are those of Karras et al. 2022 (arXiv:2206.00364) where the network is the same; without their
augmentation but for flips. Without a classifier of CIFAR-10 for FID, the metric is bits/dim.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.diffusion import diffusion
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adam

METRIC = "test/bits_per_dim"


@auto_config
def experiment(
    steps: int = 200_000,
    channels: tuple[int, ...] = (128, 256, 256, 256),
    attention: tuple[bool, ...] = (False, True, False, False),
    blocks: int = 2,
    dropout: float = 0.13,
    dtype: str = "bfloat16",
    learning_rate: float = 1e-3,
    warmup: int = 10_000,
    batch_size: int = 512,
    sampler: str = "heun",
    sampling_steps: int = 18,
    guidance: float = 1.0,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=diffusion(
            DiffusionUNet(
                outputs=3,
                channels=channels,
                blocks=blocks,
                attention=attention,
                classes=10,
                dropout=dropout,
                dtype=dtype,
            ),
            Karras(),
            LogNormal(),
            target="edm",
            classes=10,
            sampler=sampler,
            steps=sampling_steps,
            guidance=guidance,
        ),
        data=Data(
            train=Dataset("tfds:cifar10", "train[:49000]", features=("image", "label")),
            evals={"validation": Dataset("tfds:cifar10", "train[49000:]", features=("image", "label"))},
            test=Dataset("tfds:cifar10", "test", features=("image", "label")),
            augment=(RandomFlip(),),
            batch_size=batch_size,
            eval_batch_size=500,
        ),
        optimizers={
            "train": adam(learning_rate=learning_rate, steps=steps, warmup=warmup, schedule="constant", clip_norm=1.0)
        },
        ema=0.9995,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=20_000,
        save_every=5000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
