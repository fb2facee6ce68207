"""Text-to-image diffusion on 32x32 emoji (Google, Twitter): DiT on 4x4 patches, frozen MiniLM embeddings.

Result: none recorded yet
Run:    python launch.py --config=experiments/diffusion/text_to_emoji.py

Draw an image: python launch.py predict RUN --text='a red heart'
In the other style: --set=data.evals.validation.style=twitter

The metric is the share of samples for texts of held-out emoji that the classifier of cnn/emoji_categories assigns to
the category of the emoji. --with_requirements trains the classifier first.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._emoji_texts import emoji_fid_classifier, emoji_pictures
from jaxdl import CheckpointPolicy, Data, Experiment, InitFromRun
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.decoding.noise_schedules import LogNormal, RectifiedFlow
from jaxdl.features.text_embeddings import TextConditioned
from jaxdl.models.dit import DiT
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.training.optimizers import adam, power_average

METRIC = "test/label_accuracy"
REQUIRES = {"start.run": "experiments/cnn/emoji_categories.py"}


@auto_config
def texts(split: str) -> TextConditioned:
    return TextConditioned(emoji_pictures(split))


@auto_config
def experiment(steps: int = 1500, classifier: str = "runs/emoji_categories", seed: int = 0) -> Experiment:
    return Experiment(
        task=Diffusion(
            DiT(outputs=3, patch=4, width=128, depth=5, heads=4, frequencies=128),
            RectifiedFlow(),
            # Target, weighting and noise levels of JiT (arXiv:2511.13720): shapes are decided at high noise levels.
            LogNormal(mean=0.8, std=0.8),
            target="data",
            weighting="velocity",
            embedding=386,  # of MiniLM, and two styles
            sampler="dpm_solver",
            steps=24,
            guidance=3.0,
            # Shapes need guidance at higher levels than those of arXiv:2404.07724, at which it reduces diversity.
            guidance_interval=(0.2, 10.0),
            bits_per_dim=False,
            fid_classifier=emoji_fid_classifier(),
        ),
        data=Data(
            train=texts("train"),
            evals={"validation": texts("validation")},
            test=texts("test"),
            augment=(RandomFlip(),),
            batch_size=64,
            eval_batch_size=150,
        ),
        optimizers={"train": adam(learning_rate=2e-3, steps=steps, warmup=0.05)},
        start=InitFromRun(run=classifier, groups={"fid_classifier": "classifier"}),
        ema=power_average(0.05),
        steps=steps,
        seed=seed,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
