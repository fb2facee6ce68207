"""DCGAN on CelebA 64x64: non-saturating loss with R1.

Result: none recorded yet
Run:    python launch.py --config=experiments/gan/celeba.py

Without a classifier of faces, the metric is the diversity of samples relative to that of real faces. Sized for one GPU.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Dataset, Experiment
from jaxdl.data.image.resize import ResizeCrop
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.models.gan import DCGANDiscriminator, DCGANGenerator
from jaxdl.tasks.image_generation import ImageGeneration
from jaxdl.training.optimizers import adam

METRIC = "validation/diversity"


@auto_config
def experiment(steps: int = 100_000, dtype: str = "bfloat16", seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageGeneration(
            DCGANGenerator(outputs=3, size=4, channels=(512, 256, 128, 64), dtype=dtype),
            DCGANDiscriminator(channels=(64, 128, 256, 512), dtype=dtype),
            loss="non_saturating",
            penalty="r1",
            penalty_weight=5.0,
            latents=128,
        ),
        data=Data(
            train=Dataset("tfds:celeb_a", "train", features=("image",)),
            evals={"validation": Dataset("tfds:celeb_a", "validation[:10000]", features=("image",))},
            augment=(ResizeCrop(78, 64), RandomFlip()),  # of 178 columns the 146 around the face
            eval_transforms=(ResizeCrop(78, 64),),
            batch_size=128,
            workers=8,
        ),
        # b1 of the paper (arXiv:1511.06434).
        optimizers={
            "discriminator": adam(learning_rate=2e-4, steps=steps, schedule="constant", b1=0.5),
            "generator": adam(learning_rate=2e-4, steps=steps, schedule="constant", b1=0.5),
        },
        ema=0.9995,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=5000,
        save_every=2500,
    )
