"""Class-conditional DDPM on Fashion-MNIST with a DiT: linear betas, noise prediction.

Result: 5.546 test fid, 1 seed, 9.0 min, 24 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_ddpm.py

Differs from fashion_edm in the noise schedule, the noise levels in training and the target. Sampling is that of
fashion_edm: ten Euler steps, which is DDIM (arXiv:2010.02502). With a U-Net, `jaxdl.models.ddpm_unet.DiffusionUNet`,
1,700 steps and another sampler the FID was 2.802.

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
The paper's sampler: python launch.py eval RUN --set=task.sampler=ancestral --set=task.sampling=None
--set=task.steps=1000
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier
from experiments.diffusion._fashion_diffusion import fashion_diffusion, fashion_dit, fashion_sampling
from jaxdl import Experiment
from jaxdl.decoding.noise_schedules import Linear, Uniform
from jaxdl.tasks.diffusion import Diffusion

METRIC = "test/fid"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(steps: int = 1500, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return fashion_diffusion(
        Diffusion(
            fashion_dit(),
            Linear(),
            Uniform(),
            target="noise",
            classes=10,
            sampler="euler",
            sampling=fashion_sampling(),
            steps=10,
            guidance=2.0,
            fid_classifier=fashion_fid_classifier(),
        ),
        steps,
        fid_classifier,
        seed,
    )
