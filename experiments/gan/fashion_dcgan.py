"""DCGAN on Fashion-MNIST: non-saturating loss with R1.

Result: 4.217 test fid, 1 seed, 8.5 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/gan/fashion_dcgan.py

Without the penalty: --set=task.penalty=None. Sized for ten minutes on two CPU cores.
WGAN-GP (arXiv:1704.00028; test fid 6.671 in 8.5 min): --set=steps=6500 --set=task.loss=wasserstein
--set=task.penalty=gradient --set=task.penalty_weight=10 --set=task.critic_steps=5
--set=optimizers.discriminator.b2=0.9 --set=optimizers.generator.b2=0.9

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier
from experiments.gan._fashion_gan import fashion_gan
from jaxdl import Experiment
from jaxdl.models.gan import DCGANDiscriminator, DCGANGenerator
from jaxdl.tasks.image_generation import ImageGeneration

METRIC = "test/fid"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(steps: int = 4000, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return fashion_gan(
        ImageGeneration(
            DCGANGenerator(outputs=1, size=7, channels=(128, 64)),
            DCGANDiscriminator(channels=(32, 64, 128)),
            loss="non_saturating",
            penalty="r1",
            penalty_weight=1.0,
            latents=64,
            fid_classifier=fashion_fid_classifier(),
        ),
        steps,
        fid_classifier,
        seed,
        b1=0.5,  # of the paper (arXiv:1511.06434)
        eval_every=1000,
    )


def sweep():
    wgan_gp = {
        "steps": 6500,
        "task.loss": "wasserstein",
        "task.penalty": "gradient",
        "task.penalty_weight": 10,
        "task.critic_steps": 5,
        "optimizers.discriminator.b2": 0.9,
        "optimizers.generator.b2": 0.9,
    }
    return [
        {"seed": seed, **losses}
        for losses in ({"task.penalty": "r1"}, {"task.penalty": None}, wgan_gp)
        for seed in range(3)
    ]
