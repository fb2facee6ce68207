"""Two-step consistency distillation of fashion_edm on Fashion-MNIST.

Result: 3.227 test fid, 1 seed, 10.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_few_steps.py

Student, teacher and FID classifier are initialized from the run of the teacher:
python launch.py --config=experiments/diffusion/fashion_edm.py --workdir=runs/fashion_edm

In one step: python launch.py eval RUN --set=task.steps=1
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.decoding.noise_schedules import Karras
from jaxdl.models.convnet import ConvNet
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.consistency import consistency_distillation
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adam

METRIC = "test/fid"


@auto_config
def experiment(steps: int = 900, teacher: str = "runs/fashion_edm", seed: int = 0) -> Experiment:
    return Experiment(
        task=consistency_distillation(
            DiffusionUNet(
                outputs=1,
                channels=(32, 96),
                blocks=1,
                attention=(False, False),
                classes=10,
                groups=8,
                patch=2,
            ),
            Karras(),
            levels=18,
            guidance=2.0,
            classes=10,
            steps=2,
            fid_classifier=FIDClassifier(
                ConvNet(
                    num_classes=10,
                    channels=(32, 64, 128),
                    depth=2,
                    downsample="max",
                    halve_first=True,
                    residual=True,
                    dropout=0.1,
                ),
                normalize=Normalize(mean=0.286, std=0.353),
            ),
        ),
        data=Data(
            train=Dataset("fashion_mnist", "train[:55000]"),
            evals={"validation": Dataset("fashion_mnist", "train[55000:57000]")},
            test=Dataset("fashion_mnist", "test"),
            batch_size=64,
            eval_batch_size=500,
        ),
        optimizers={"train": adam(learning_rate=4e-4, steps=steps, warmup=0.05)},
        start=InitFromRun(
            run=teacher, groups={"denoiser": "denoiser", "teacher": "denoiser", "fid_classifier": "fid_classifier"}
        ),
        ema=0.995,
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=steps,
        save_every=600,
        keep=CheckpointPolicy(metric="validation/fid", mode="min"),
    )
