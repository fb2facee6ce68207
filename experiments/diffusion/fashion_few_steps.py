"""Fashion-MNIST by class in two steps: a consistency model, distilled from a run of fashion_edm.

Result: 3.227 test fid, 1 seed, 10.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_few_steps.py

The teacher: python launch.py --config=experiments/diffusion/fashion_edm.py --workdir=runs/fashion_edm

The student and the FID classifier start from the weights of the teacher's run.
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
def experiment(
    steps: int = 900,
    channels: tuple[int, ...] = (32, 96),
    blocks: int = 1,
    patch: int = 2,
    learning_rate: float = 4e-4,
    batch_size: int = 64,
    levels: int = 18,
    guidance: float = 2.0,
    sampling_steps: int = 2,
    teacher: str = "runs/fashion_edm",
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=consistency_distillation(
            DiffusionUNet(
                outputs=1,
                channels=channels,
                blocks=blocks,
                attention=(False, False),
                classes=10,
                groups=8,
                patch=patch,
            ),
            Karras(),
            levels=levels,
            guidance=guidance,
            classes=10,
            steps=sampling_steps,
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
            batch_size=batch_size,
            eval_batch_size=500,
        ),
        optimizers={"train": adam(learning_rate=learning_rate, steps=steps, warmup=0.05)},
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


def sweep():
    return [{"seed": seed} for seed in range(3)]
