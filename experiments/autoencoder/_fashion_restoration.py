"""Training of the Fashion-MNIST restoration recipes."""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist, fashion_normalize
from jaxdl import CheckpointPolicy, Experiment
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.models.dncnn import PixelUnshuffle
from jaxdl.models.unet import UNet
from jaxdl.tasks.image_restoration import ImageRestoration
from jaxdl.tasks.parts.corruption import GaussianNoise, MissingRectangles
from jaxdl.training.optimizers import adamw


@auto_config
def fashion_restoration(corruption: GaussianNoise | MissingRectangles, steps: int, seed: int) -> Experiment:
    """Returns the training of a U-Net, on 2x2 patches, that removes a corruption."""
    return Experiment(
        task=ImageRestoration(
            PixelUnshuffle(UNet(outputs=4, channels=(64, 128), depth=2)),
            corruption,
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
