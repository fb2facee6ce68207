"""Video prediction of two bouncing MNIST digits at 32x32, ten frames from ten: convolutional state-space model.

Result: 0.408 test ssim, 1 seed, 10.1 min, 28 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/moving_digits.py

The digits blur after the first frames: in the tenth, SSIM is 0.16, below the 0.21 of a copy of the last input frame.

Digits of the test split do not occur in training. The ConvLSTM encoder-forecaster: `--set=model=ConvLSTMForecaster`.
Own videos, white on black: `python launch.py predict RUN video.gif`, also folders of frames and .npy files.
"""

import flax.linen as nn
from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.video.moving_digits import MovingDigits
from jaxdl.models.conv_ssm import ConvSSM
from jaxdl.models.convlstm import ConvLSTMForecaster  # noqa: F401, a value of `model`
from jaxdl.tasks.video_prediction import VideoPrediction
from jaxdl.training.optimizers import adam

METRIC = "test/ssim"


@auto_config
def experiment(steps: int = 4500, model: type[nn.Module] = ConvSSM, seed: int = 0) -> Experiment:
    return Experiment(
        task=VideoPrediction(model(features=64), horizon=10),
        data=Data(
            train=MovingDigits(Dataset("mnist_5k", "train"), videos=100_000),
            evals={"validation": MovingDigits(Dataset("mnist_5k", "validation"), videos=200)},
            test=MovingDigits(Dataset("mnist_5k", "test"), videos=500),
            batch_size=8,  # many small steps: the budget has only some ten thousand videos
            eval_batch_size=20,
        ),
        optimizers={"train": adam(learning_rate=3e-3, steps=steps, warmup=0.05, clip_norm=1.0)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1500,
        save_every=1500,
        keep=CheckpointPolicy(metric="validation/ssim"),
    )


def sweep():
    return [{"model": "ConvSSM"}, {"model": "ConvLSTMForecaster"}]
