"""Class-conditional SN-ResNet GAN on Fashion-MNIST: hinge loss, projection discriminator.

Result: 2.653 test fid, 1 seed, 10.0 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/gan/fashion_conditional.py

The result is that of the former configuration: blocks at full resolution, 1,800 steps.

With R1: --set=task.penalty=r1

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier
from experiments.gan._fashion_gan import fashion_gan
from jaxdl import Experiment
from jaxdl.models.gan import ResNetDiscriminator, ResNetGenerator
from jaxdl.tasks.image_generation import ImageGeneration

METRIC = "test/fid"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(steps: int = 3600, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return fashion_gan(
        ImageGeneration(
            # On 2x2 blocks of pixels: blocks at full resolution took half of the time.
            ResNetGenerator(outputs=1, size=7, channels=(96, 64), classes=10, patch=2),
            ResNetDiscriminator(channels=(48, 96, 96), halvings=1, classes=10, patch=2),
            loss="hinge",
            penalty_weight=0.1,
            latents=64,
            classes=10,
            fid_classifier=fashion_fid_classifier(),
        ),
        steps,
        fid_classifier,
        seed,
        b1=0.0,  # moments of the paper (arXiv:1802.05957)
        b2=0.9,
        log_every=50,
    )
