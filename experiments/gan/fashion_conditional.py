"""Class-conditional SN-ResNet GAN on Fashion-MNIST: hinge loss, projection discriminator.

Result: 2.653 test fid, 1 seed, 10.0 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/gan/fashion_conditional.py

With R1: --set=task.penalty=r1

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier, fashion_mnist
from jaxdl.config.experiment import Experiment
from jaxdl.models.gan import ResNetDiscriminator, ResNetGenerator
from jaxdl.tasks.image_generation import ImageGeneration
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adam

METRIC = "test/fid"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(steps: int = 1800, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageGeneration(
            ResNetGenerator(outputs=1, size=7, channels=(64, 48, 24), classes=10),
            ResNetDiscriminator(channels=(24, 48, 96), halvings=2, classes=10),
            loss="hinge",
            penalty_weight=0.1,
            latents=64,
            classes=10,
            fid_classifier=fashion_fid_classifier(),
        ),
        data=fashion_mnist(batch_size=64),
        # Moments of the paper (arXiv:1802.05957).
        optimizers={
            "discriminator": adam(learning_rate=5e-4, steps=steps, schedule="constant", b1=0.0, b2=0.9),
            "generator": adam(learning_rate=5e-4, steps=steps, schedule="constant", b1=0.0, b2=0.9),
        },
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=500,
        save_every=500,
        keep=CheckpointPolicy(metric="validation/fid", mode="min"),
    )
