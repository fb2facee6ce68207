"""English-German translation of LibreOffice help: LSTM encoder-decoder with attention.

Result: 17.05 test bleu, 1 seed, 11.2 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/translate_en_de.py

The baseline of transformer/translate_en_de.

Other languages: `--set=dataset=libreoffice_fr`. Own data, one tab-separated pair per line: `--set=dataset=pairs:FILE`
and splits such as `--set=data.evals.validation.corpus.split='train[90%:95%]'`.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._pairs import truncated_pairs
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.rnn import LSTM, Cell
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, TokenEncoder
from jaxdl.tasks.translation import Translation
from jaxdl.training.optimizers import adam

METRIC = "test/bleu"


@auto_config
def experiment(
    dataset: str = "libreoffice_de",
    train: str = "train",
    steps: int = 1200,
    features: int = 256,
    tokens: int = 4000,
    cell: type[Cell] = LSTM,
    dropout: float = 0.2,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset(dataset, train), features=("source", "target"))
    return Experiment(
        task=Translation(
            EncoderDecoder(
                TokenEncoder(vocabulary=tokens, features=features, embedding=256, cell=cell, dropout=dropout),
                AttentionDecoder(
                    vocabulary=tokens, features=features, embedding=256, attention="dot", cell=cell, dropout=dropout
                ),
            ),
            beam=4,
        ),
        data=Data(
            train=Pairs(Dataset(dataset, train), vocabulary, source_length=32, target_length=32),
            evals={"validation": truncated_pairs(dataset, "validation", vocabulary)},
            test=truncated_pairs(dataset, "test", vocabulary),
            batch_size=64,
        ),
        optimizers={"train": adam(learning_rate=3e-3, steps=steps, warmup=0.05, clip_norm=1.0)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=600,
        save_every=600,
        keep=CheckpointPolicy(metric="validation/bleu"),
    )
