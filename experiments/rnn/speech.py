"""Speech recognition of telephone prompts (16 minutes, one speaker): ConvNet and BiLSTM with CTC.

Result: 0.245 test cer, 1 seed, 9.9 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/speech.py

Beam search uses an n-gram language model of the training texts; greedy decoding:
`--set=task.language_model=None --set=task.beam=0`. Own data, a folder of NAME.wav and NAME.txt:
`--set=dataset=speech:FOLDER` and splits such as `--set=data.evals.validation.corpus.split='train[90%:]'`.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.audio.augment import SpecAugment, SpeedPerturb
from jaxdl.data.audio.speech import Speech
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.decoding.ngrams import NGrams
from jaxdl.models.rnn import LSTM
from jaxdl.models.speech import SpeechRecognizer
from jaxdl.tasks.speech_recognition import SpeechRecognition
from jaxdl.training.optimizers import adamw

METRIC = "test/cer"


@auto_config
def recordings(dataset: str, split: str, vocabulary: Vocabulary) -> Speech:
    """Returns recordings of at most 32 seconds for evaluation."""
    return Speech(Dataset(dataset, split), vocabulary, seconds=32.0, stride=4, overflow="drop")


@auto_config
def experiment(dataset: str = "asterisk_prompts", train: str = "train", steps: int = 1500, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Characters(32), Dataset(dataset, train))
    return Experiment(
        task=SpeechRecognition(
            SpeechRecognizer(vocabulary=32, features=160, channels=(192, 192), cell=LSTM, dropout=0.5),
            beam=32,
            language_model=NGrams(Dataset(dataset, train), order=6),
        ),
        data=Data(
            train=Speech(Dataset(dataset, train), vocabulary, seconds=6.0, stride=4, overflow="drop", joins=4000),
            evals={"validation": recordings(dataset, "validation", vocabulary)},
            test=recordings(dataset, "test", vocabulary),
            augment=(SpeedPerturb(), SpecAugment()),
            batch_size=32,
        ),
        optimizers={"train": adamw(learning_rate=3e-3, steps=steps, warmup=0.05, weight_decay=0.02, clip_norm=1.0)},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        keep=CheckpointPolicy(metric="validation/cer", mode="min"),
    )
