"""From the long description of a Debian package to the line that says what it is, from scratch.

Result: 38.07 test rouge l, 1 seed, 8.3 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/summarize.py

It may copy words of the description (`--set=copies=False`: not). Your own pairs, a line each with a tab between:
`--set=dataset=pairs:FILE`, with `--set=validation='train[90%:95%]'` and so on.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.t5 import EncoderDecoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.translation import Translation
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import muon

METRIC = "test/rouge_l"


@auto_config
def experiment(
    dataset: str = "debian_descriptions",
    train: str = "train",
    validation: str = "validation",
    test: str = "test",
    steps: int = 1100,
    features: int = 192,
    encoder_layers: int = 2,
    decoder_layers: int = 2,
    heads: int = 6,
    tokens: int = 8000,
    length: int = 80,
    dropout: float = 0.0,
    copies: bool = True,
    beam: int = 4,
    batch_size: int = 48,
    learning_rate: float = 2e-2,
    adam_learning_rate: float = 3e-3,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset(dataset, train), features=("source", "target"))
    return Experiment(
        task=Translation(
            EncoderDecoder(
                vocabulary=tokens,
                length=32,
                encoder=Stack(features, encoder_layers, heads, use_bias=False, dropout=dropout),
                decoder=Stack(
                    features, decoder_layers, heads, use_bias=False, causal=True, cross=True, dropout=dropout
                ),
                copies=copies,
            ),
            beam=beam,
            max_length=24,
            metrics=("rouge_l", "bleu"),
        ),
        data=Data(
            train=Pairs(
                Dataset(dataset, train), vocabulary, source_length=length, target_length=20, overflow="truncate"
            ),
            evals={
                "validation": Pairs(
                    Dataset(dataset, validation),
                    vocabulary,
                    source_length=length,
                    target_length=32,
                    overflow="truncate",
                )
            },
            test=Pairs(Dataset(dataset, test), vocabulary, source_length=length, target_length=32, overflow="truncate"),
            batch_size=batch_size,
        ),
        optimizers={
            "train": muon(
                learning_rate=learning_rate, adam_learning_rate=adam_learning_rate, steps=steps, warmup=0.05, b2=0.98
            )
        },
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        save_every=500,
        keep=CheckpointPolicy(metric="validation/rouge_l"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
