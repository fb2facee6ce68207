"""English to German: the help pages of LibreOffice, by an encoder and an attending decoder.

Result: 17.05 test bleu, 1 seed, 11.2 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/translate_en_de.py

French: `--set=dataset=libreoffice_fr`. Your own pairs, a line each with a tab between: `--set=dataset=pairs:FILE`, with
`--set=validation='train[90%:95%]'` and so on.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.rnn import LSTM, Cell
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, TokenEncoder
from jaxdl.tasks.translation import Translation
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import adam

METRIC = "test/bleu"


@auto_config
def experiment(
    dataset: str = "libreoffice_de",
    train: str = "train",
    validation: str = "validation",
    test: str = "test",
    steps: int = 1200,
    features: int = 256,
    tokens: int = 4000,
    attention: str = "dot",
    cell: type[Cell] = LSTM,
    dropout: float = 0.2,
    beam: int = 4,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset(dataset, train), features=("source", "target"))
    return Experiment(
        task=Translation(
            EncoderDecoder(
                TokenEncoder(vocabulary=tokens, features=features, embedding=256, cell=cell, dropout=dropout),
                AttentionDecoder(
                    vocabulary=tokens, features=features, embedding=256, attention=attention, cell=cell, dropout=dropout
                ),
            ),
            beam=beam,
        ),
        data=Data(
            train=Pairs(Dataset(dataset, train), vocabulary, source_length=32, target_length=32),
            evals={
                "validation": Pairs(
                    Dataset(dataset, validation), vocabulary, source_length=96, target_length=96, overflow="truncate"
                )
            },
            test=Pairs(Dataset(dataset, test), vocabulary, source_length=96, target_length=96, overflow="truncate"),
            batch_size=64,
        ),
        optimizers={"train": adam(learning_rate=learning_rate, steps=steps, warmup=0.05, clip_norm=1.0)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=600,
        save_every=600,
        keep=CheckpointPolicy(metric="validation/bleu"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
