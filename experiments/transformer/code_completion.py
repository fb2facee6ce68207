r"""Next line of a Python function: Transformer encoder-decoder on the standard library.

Result: 0.0149 test exact match, 1 seed, 17.4 min, 74 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/transformer/code_completion.py

Below the baseline, the most frequent line after the last one: after five epochs the loss still falls fast.

The input is the signature, the docstring and the lines before; the metric is the exact match of the line. Validation
and test have functions of other modules. Your own code:

python launch.py predict RUN --text=$'def area(width, height):\nReturn the area of a rectangle.'
"""

from fiddle.experimental.auto_config import auto_config

from experiments.transformer._muon import text_muon
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.examples import Overflow
from jaxdl.data.text.next_lines import NextLines
from jaxdl.data.text.packing import Packed
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.t5 import EncoderDecoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.translation import Translation

METRIC = "test/exact_match"


@auto_config
def lines(
    split: str, vocabulary: Vocabulary, source_length: int, target_length: int, overflow: Overflow = "truncate"
) -> Pairs:
    """Returns contexts and next lines of the functions of a split."""
    return Pairs(
        NextLines(Dataset("python_functions", split)), vocabulary, source_length, target_length, overflow=overflow
    )


@auto_config
def experiment(
    steps: int = 600,
    features: int = 192,
    heads: int = 6,
    tokens: int = 4000,
    source_length: int = 256,
    target_length: int = 64,
    dropout: float = 0.1,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset("python_functions", "train"), features=("source", "target"))
    return Experiment(
        task=Translation(
            EncoderDecoder(
                vocabulary=tokens,
                length=source_length,
                encoder=Stack(features, 3, heads, use_bias=False, dropout=dropout),
                decoder=Stack(features, 2, heads, use_bias=False, causal=True, cross=True, dropout=dropout),
            ),
            max_length=target_length,
            metrics=("exact_match", "edit_similarity"),
        ),
        data=Data(
            train=Packed(lines("train", vocabulary, source_length, target_length, "drop")),
            evals={"validation": lines("validation", vocabulary, source_length, target_length)},
            test=lines("test", vocabulary, source_length, target_length),
            batch_size=32,
            eval_batch_size=64,
        ),
        optimizers={"train": text_muon(steps)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
