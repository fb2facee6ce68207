"""DDPM on Fashion-MNIST by class: linear betas, noise as target, every level alike, and a small U-Net.

Result: 2.802 test fid, 1 seed, 9.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_ddpm.py

The FID classifier is a run of experiments/cnn/fashion_mnist.py. Train it first:
python launch.py --config=experiments/cnn/fashion_mnist.py --workdir=runs/fashion_mnist
Without it: --set=start=None --set=task.fid_classifier=None
The paper's own sampler: python launch.py eval RUN --set=task.sampler=ancestral --set=task.steps=1000
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.decoding.noise_schedules import Linear, Uniform
from jaxdl.models.convnet import ConvNet
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.diffusion import diffusion
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adam

METRIC = "test/fid"


@auto_config
def experiment(
    steps: int = 1700,
    channels: tuple[int, ...] = (32, 96),
    blocks: int = 1,
    patch: int = 2,
    learning_rate: float = 2e-3,
    batch_size: int = 64,
    sampler: str = "ancestral",
    sampling_steps: int = 8,
    guidance: float = 2.0,
    fid_classifier: str = "runs/fashion_mnist",
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=diffusion(
            DiffusionUNet(
                outputs=1,
                channels=channels,
                blocks=blocks,
                attention=(False, False),
                classes=10,
                groups=8,
                patch=patch,
            ),
            Linear(),
            Uniform(),
            target="noise",
            classes=10,
            sampler=sampler,
            steps=sampling_steps,
            guidance=guidance,
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
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.995,
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=steps,
        save_every=500,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
