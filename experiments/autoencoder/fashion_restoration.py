"""Restoration of Fashion-MNIST with a U-Net: denoising (Gaussian, sigma = 50/255) or inpainting.

Result: none recorded yet
Run:    python launch.py --config=experiments/autoencoder/fashion_restoration.py

The corruption is drawn per example and step, so no corrupted image repeats. `corruption` is a class of
`jaxdl.tasks.parts.corruption`. Inpainting of two rectangles, about a quarter of the image:
--set=corruption=MissingRectangles --set=task.corruption.count=2 --set='task.corruption.area=(0.08, 0.2)'
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist, fashion_normalize
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.models.dncnn import PixelUnshuffle
from jaxdl.models.unet import UNet
from jaxdl.tasks.image_restoration import ImageRestoration
from jaxdl.tasks.parts.corruption import Corruption, GaussianNoise
from jaxdl.training.optimizers import adamw

METRIC = "test/psnr"


@auto_config
def experiment(steps: int = 2200, corruption: type[Corruption] = GaussianNoise, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageRestoration(
            PixelUnshuffle(UNet(outputs=4, channels=(64, 128), depth=2)),  # 2x2 patches
            corruption(),
            normalize=fashion_normalize(),
        ),
        data=fashion_mnist(batch_size=128, eval_batch_size=250, augment=(RandomFlip(),), features=("image",)),
        optimizers={"train": adamw(learning_rate=3e-3, steps=steps, warmup=0.05, weight_decay=0.01)},
        ema=0.998,
        steps=steps,
        seed=seed,
        eval_every=1100,
        save_every=1100,
        keep=CheckpointPolicy(metric="validation/psnr"),
    )


def sweep():
    inpainting = {
        "corruption": "MissingRectangles",
        "task.corruption.count": 2,
        "task.corruption.area": (0.08, 0.2),
    }
    return [{"corruption": "GaussianNoise"}, inpainting]
