"""Two-step consistency distillation of fashion_edm on Fashion-MNIST.

Result: 3.227 test fid, 1 seed, 10.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_few_steps.py

The result is that of the former configuration: a U-Net.

Student, teacher and FID classifier are initialized from the run of the teacher, diffusion/fashion_edm, which
--with_requirements trains first.

In one step: python launch.py eval RUN --set=task.steps=1
"""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_fid_classifier, fashion_mnist
from experiments.diffusion._fashion_diffusion import fashion_dit
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.decoding.noise_schedules import Karras
from jaxdl.tasks.consistency import ConsistencyDistillation
from jaxdl.training.optimizers import adam

METRIC = "test/fid"
REQUIRES = {"start.run": "experiments/diffusion/fashion_edm.py"}


@auto_config
def experiment(steps: int = 600, teacher: str = "runs/fashion_edm", seed: int = 0) -> Experiment:
    return Experiment(
        task=ConsistencyDistillation(
            fashion_dit(),
            Karras(sigma_min=0.02, sigma_max=20.0),  # 0.02 is 2.5 gray levels
            levels=18,
            guidance=2.0,
            classes=10,
            steps=2,
            fid_classifier=fashion_fid_classifier(),
        ),
        data=fashion_mnist(batch_size=64, validation="train[55000:57000]"),
        optimizers={"train": adam(learning_rate=4e-4, steps=steps, warmup=0.05)},
        start=InitFromRun(
            run=teacher, groups={"denoiser": "denoiser", "teacher": "denoiser", "fid_classifier": "fid_classifier"}
        ),
        ema=0.995,
        steps=steps,
        seed=seed,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/fid", mode="min"),
    )
