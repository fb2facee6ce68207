"""DiT-XL/2 on ImageNet by class: a diffusion Transformer of 675 million parameters, for GPUs or a TPU pod.

Result: none recorded yet
Run:    python launch.py --config=experiments/diffusion/imagenet_dit_xl2.py --set=parallel.mesh.fsdp=8

It works on pixels of images of 32x32, so that it needs no autoencoder's weights; its 256 tokens are as many as those of
the paper's latents of 256x256 (Peebles & Xie 2022, arXiv:2212.09748), from which width, depth, rate and batch size are.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.decoding.noise_schedules import LogitNormal, Straight
from jaxdl.models.dit import DiT
from jaxdl.tasks.diffusion import diffusion
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adamw

METRIC = "validation/bits_per_dim"


@auto_config
def experiment(
    dataset: str = "tfds:imagenet_resized/32x32",
    steps: int = 400_000,
    width: int = 1152,
    depth: int = 28,
    heads: int = 16,
    patch: int = 2,
    dtype: str = "bfloat16",
    remat: bool = True,
    learning_rate: float = 1e-4,
    batch_size: int = 256,
    sampler: str = "euler",
    sampling_steps: int = 50,
    guidance: float = 1.5,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=diffusion(
            DiT(outputs=3, patch=patch, width=width, depth=depth, heads=heads, classes=1000, dtype=dtype, remat=remat),
            Straight(),
            LogitNormal(),
            target="velocity",
            classes=1000,
            sampler=sampler,
            steps=sampling_steps,
            guidance=guidance,
        ),
        data=Data(
            train=Dataset(dataset, "train", features=("image", "label")),
            evals={"validation": Dataset(dataset, "validation[:10000]", features=("image", "label"))},
            augment=(RandomFlip(),),
            batch_size=batch_size,
            eval_batch_size=250,
            workers=8,
        ),
        optimizers={"train": adamw(learning_rate=learning_rate, steps=steps, schedule="constant", weight_decay=0.0)},
        ema=0.9999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=20_000,
        save_every=5000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
