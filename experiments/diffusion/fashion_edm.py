"""Class-conditional EDM on Fashion-MNIST with a U-Net.

Result: 2.541 test fid, 1 seed, 12.8 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_edm.py

Eight steps of the DPM solver with classifier-free guidance.

--with_requirements trains the FID classifier, cnn/fashion_mnist, first. Without FID:
--set=start=None --set=task.fid_classifier=None
Other samplers of a finished run: python launch.py eval RUN --set=task.sampler=heun --set=task.steps=18
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier, fashion_mnist
from experiments.diffusion._fashion_unet import fashion_unet
from jaxdl.config.experiment import Experiment
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adam

METRIC = "test/fid"
REQUIRES = {"start.run": "experiments/cnn/fashion_mnist.py"}


@auto_config
def experiment(steps: int = 1700, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return Experiment(
        task=Diffusion(
            fashion_unet(),
            Karras(),
            LogNormal(),
            target="edm",
            classes=10,
            sampler="dpm_solver",
            steps=8,
            guidance=2.0,
            fid_classifier=fashion_fid_classifier(),
        ),
        data=fashion_mnist(batch_size=64, validation="train[55000:57000]"),
        optimizers={"train": adam(learning_rate=2e-3, steps=steps, warmup=0.05)},
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.995,
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=steps,
        save_every=500,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
