"""Telephone prompts to text: one speaker's 16 minutes, convolutions and a bidirectional LSTM, trained by CTC.

Result: 0.245 test cer, 1 seed, 9.9 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/speech.py

A beam search reads them with the help of the training texts' n-grams; greedily:
`--set=task.language_model=None --set=task.beam=0`.
Your own recordings, a folder of NAME.wav and NAME.txt: `--set=dataset=speech:FOLDER`, with `--set=validation=...`.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.audio.augment import SpecAugment, SpeedPerturb
from jaxdl.data.audio.speech import Speech
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.decoding.ngrams import NGrams
from jaxdl.models.rnn import LSTM, Cell
from jaxdl.models.speech import SpeechRecognizer
from jaxdl.tasks.speech_recognition import SpeechRecognition
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adamw

METRIC = "test/cer"


@auto_config
def experiment(
    dataset: str = "asterisk_prompts",
    train: str = "train",
    validation: str = "validation",
    test: str = "test",
    steps: int = 1500,
    features: int = 160,
    cell: type[Cell] = LSTM,
    dropout: float = 0.5,
    joins: int = 4000,
    beam: int = 32,
    order: int = 6,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.02,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(Characters(32), Dataset(dataset, train))
    return Experiment(
        task=SpeechRecognition(
            SpeechRecognizer(vocabulary=32, features=features, channels=(192, 192), cell=cell, dropout=dropout),
            beam=beam,
            language_model=NGrams(Dataset(dataset, train), order=order),
        ),
        data=Data(
            train=Speech(Dataset(dataset, train), vocabulary, seconds=6.0, stride=4, overflow="drop", joins=joins),
            evals={
                "validation": Speech(Dataset(dataset, validation), vocabulary, seconds=32.0, stride=4, overflow="drop")
            },
            test=Speech(Dataset(dataset, test), vocabulary, seconds=32.0, stride=4, overflow="drop"),
            augment=(SpeedPerturb(), SpecAugment()),
            batch_size=32,
        ),
        optimizers={
            "train": adamw(
                learning_rate=learning_rate, steps=steps, warmup=0.05, weight_decay=weight_decay, clip_norm=1.0
            )
        },
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=500,
        save_every=500,
        keep=CheckpointPolicy(metric="validation/cer", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
