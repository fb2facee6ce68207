"""U-Net segmentation of grey and white matter in slices of the MNI152 brain template, T1-weighted MRI.

Result: 0.932 test dice, 1 seed, 4.2 min, 14 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/cnn/brain_tissue.py

The template is one volume, the average of 152 brains. Training and test slices are blocks with gaps of 7 mm. In this
image without noise, intensity nearly determines the tissue: two thresholds reach 0.952, and logistic regression on
intensities and position 0.965, both more than the network. A scan of one person is noisier and has sharper folds. Own
slices need pixels of 1 mm, no skull, the front at the top, and white matter at about 215 of 255.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Dataset, Experiment
from jaxdl.data.image.resize import RandomWindow
from jaxdl.data.image.transforms import ColorJitter, RandomFlip
from jaxdl.models.unet import UNet
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.tasks.semantic_segmentation import SemanticSegmentation
from jaxdl.training.optimizers import adamw

METRIC = "test/dice"


@auto_config
def experiment(steps: int = 900, seed: int = 0) -> Experiment:
    return Experiment(
        task=SemanticSegmentation(
            UNet(outputs=3, channels=(16, 32, 64, 128), dropout=0.2),
            num_classes=3,
            background=True,
            normalize=Normalize(mean=0.4, std=0.4),
        ),
        data=Data(
            train=Dataset("mni152", "train", features=("image", "mask")),
            evals={"validation": Dataset("mni152", "validation", features=("image", "mask"))},
            test=Dataset("mni152", "test", features=("image", "mask")),
            # With rotation, scaling and a jitter of 0.3 the validation Dice was 0.918, not 0.946.
            augment=(RandomWindow(96, 96), RandomFlip(), ColorJitter(0.05, 0.05)),
            batch_size=8,
            eval_batch_size=5,
        ),
        optimizers={"train": adamw(learning_rate=3e-3, steps=steps, warmup=0.05, weight_decay=0.05)},
        ema=0.995,
        steps=steps,
        seed=seed,
        eval_every=300,
    )
