"""Category of 32x32 emoji (Google, Twitter; eight categories): residual ConvNet.

Result: 0.701 test accuracy, 1 seed, 3.6 min, 20 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/cnn/emoji_categories.py

The validation and test emoji have other names than those of training. Its accuracy on test pictures is the ceiling of
diffusion/text_to_emoji, whose samples it classifies.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._emoji_texts import emoji_convnet, emoji_pictures
from jaxdl import CheckpointPolicy, Data, Experiment
from jaxdl.data.image.transforms import RandomCrop, RandomFlip
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import adamw

METRIC = "test/accuracy"


@auto_config
def experiment(steps: int = 800, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(emoji_convnet(), label_smoothing=0.1),
        data=Data(
            train=emoji_pictures("train"),
            evals={"validation": emoji_pictures("validation")},
            test=emoji_pictures("test"),
            augment=(RandomCrop(3, mode="reflect"), RandomFlip()),
            batch_size=64,
            eval_batch_size=150,
        ),
        optimizers={"train": adamw(learning_rate=3e-3, steps=steps, warmup=0.1, weight_decay=0.1)},
        ema=0.99,
        steps=steps,
        seed=seed,
        eval_every=steps // 2,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
