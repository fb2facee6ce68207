"""Three-digit addition as text ("217+80" to "297"): LSTM encoder-decoder with attention.

Result: 0.9996 test exact match, 1 seed, 4.1 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/digit_addition.py

No sum of the test split occurs in training; the metric is the exact match. Longer training did not improve it: 8,500
steps of 256 sums gave 0.9990.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Experiment
from jaxdl.data.synthetic.arithmetic import DigitAddition
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.models.rnn import LSTM, Cell
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, TokenEncoder
from jaxdl.tasks.translation import Translation
from jaxdl.training.optimizers import adam

METRIC = "test/exact_match"


@auto_config
def sums(digits: int, vocabulary: Vocabulary, examples: int, split: str) -> Pairs:
    """Returns sums as pairs of texts that fit the longest sum."""
    return Pairs(
        DigitAddition(digits, examples=examples, split=split),
        vocabulary,
        source_length=2 * digits + 2,
        target_length=digits + 3,
        overflow="refuse",
    )


@auto_config
def experiment(
    steps: int = 6000,
    features: int = 128,
    digits: int = 3,
    cell: type[Cell] = LSTM,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(
        Characters(16), DigitAddition(digits, examples=2000, split="train"), features=("source", "target")
    )
    return Experiment(
        task=Translation(
            EncoderDecoder(
                TokenEncoder(vocabulary=16, features=features, embedding=32, cell=cell),
                AttentionDecoder(vocabulary=16, features=features, embedding=64, attention="dot", cell=cell),
            ),
            label_smoothing=0.0,
            metrics=("exact_match",),
        ),
        data=Data(
            train=sums(digits, vocabulary, 600_000, "train"),
            evals={"validation": sums(digits, vocabulary, 2000, "validation")},
            test=sums(digits, vocabulary, 10_000, "test"),
            batch_size=128,
            eval_batch_size=1000,
        ),
        optimizers={"train": adam(learning_rate=1e-2, steps=steps, warmup=0.05, clip_norm=1.0)},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        keep=CheckpointPolicy(metric="validation/exact_match"),
    )
