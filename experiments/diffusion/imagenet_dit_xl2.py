"""Class-conditional DiT-XL/2 (675M parameters) with rectified flow on ImageNet 32x32.

Result: none recorded yet
Run:    python launch.py --config=experiments/diffusion/imagenet_dit_xl2.py --set=parallel.mesh.fsdp=8

It is trained on pixels, so it needs no autoencoder; the 256 tokens are as many as those of the paper's 256x256 latents.
Width, depth, learning rate and batch size are the paper's (Peebles & Xie 2022, arXiv:2212.09748).
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.decoding.noise_schedules import LogitNormal, RectifiedFlow
from jaxdl.models.dit import DiT
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.training.optimizers import adamw

METRIC = "validation/bits_per_dim"


@auto_config
def experiment(dataset: str = "tfds:imagenet_resized/32x32", steps: int = 400_000, seed: int = 0) -> Experiment:
    return Experiment(
        task=Diffusion(
            DiT(outputs=3, patch=2, width=1152, depth=28, heads=16, classes=1000, dtype="bfloat16", remat=True),
            RectifiedFlow(),
            LogitNormal(),
            target="velocity",
            classes=1000,
            sampler="euler",
            steps=50,
            guidance=1.5,
        ),
        data=Data(
            train=Dataset(dataset, "train", features=("image", "label")),
            evals={"validation": Dataset(dataset, "validation[:10000]", features=("image", "label"))},
            augment=(RandomFlip(),),
            batch_size=256,
            eval_batch_size=250,
            workers=8,
        ),
        optimizers={"train": adamw(learning_rate=1e-4, steps=steps, schedule="constant", weight_decay=0.0)},
        ema=0.9999,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=20_000,
        save_every=5000,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
