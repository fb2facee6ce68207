"""Class-conditional EDM on Fashion-MNIST with a U-Net.

Result: 2.541 test fid, 1 seed, 12.8 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/diffusion/fashion_edm.py

Eight steps of the DPM solver with classifier-free guidance.

FID classifier: python launch.py --config=experiments/cnn/fashion_mnist.py --workdir=runs/fashion_mnist; without it
--set=start=None --set=task.fid_classifier=None.
Other samplers of a finished run: python launch.py eval RUN --set=task.sampler=heun --set=task.steps=18
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.models.convnet import ConvNet
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.tasks.diffusion import diffusion
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adam

METRIC = "test/fid"


@auto_config
def experiment(steps: int = 1700, fid_classifier: str = "runs/fashion_mnist", seed: int = 0) -> Experiment:
    return Experiment(
        task=diffusion(
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
            LogNormal(),
            target="edm",
            classes=10,
            sampler="dpm_solver",
            steps=8,
            guidance=2.0,
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
