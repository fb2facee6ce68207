"""Jane Austen, character by character: an LSTM whose state goes on from one batch to the next.

Result: 1.136 test nats per character, 1 seed, 6.9 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/rnn/austen_chars.py

`--set=cell=GRU`, or `MinGRU`, whose training computes all times at once, goes in place of the LSTM.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.models.rnn import LSTM, Cell
from jaxdl.models.sequence import LanguageModel
from jaxdl.tasks.language_modelling import language_modelling
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adam

METRIC = "test/nats_per_character"


@auto_config
def experiment(
    steps: int = 4000,
    features: int = 384,
    layers: int = 1,
    cell: type[Cell] = LSTM,
    dropout: float = 0.0,
    length: int = 48,
    batch_size: int = 64,
    learning_rate: float = 1.2e-2,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(Characters(88), Dataset("austen", "train"))
    return Experiment(
        task=language_modelling(
            LanguageModel(vocabulary=88, features=features, embedding=64, layers=layers, cell=cell, dropout=dropout)
        ),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, length),
            evals={"validation": Windows(Dataset("austen", "validation"), vocabulary, length=256, context=128)},
            test=Windows(Dataset("austen", "test"), vocabulary, length=256, context=128),
            batch_size=batch_size,
            order="streams",
        ),
        optimizers={"train": adam(learning_rate=learning_rate, steps=steps, warmup=0.05, clip_norm=1.0)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1000,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/nats_per_character", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
