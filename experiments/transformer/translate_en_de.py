"""English-German translation of LibreOffice help: Transformer encoder-decoder.

Result: 23.52 test bleu, 1 seed, 9.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/translate_en_de.py

Compares with the LSTM of rnn/translate_en_de.

Other languages: `--set=dataset=libreoffice_fr`. Own data, one tab-separated pair per line: `--set=dataset=pairs:FILE`
and splits such as `--set=data.evals.validation.corpus.split='train[90%:95%]'`.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._pairs import truncated_pairs
from experiments.transformer._muon import text_muon
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.packing import Packed
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.t5 import EncoderDecoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.translation import Translation

METRIC = "test/bleu"


@auto_config
def experiment(
    dataset: str = "libreoffice_de",
    train: str = "train",
    steps: int = 700,
    features: int = 192,
    heads: int = 6,
    tokens: int = 4000,
    dropout: float = 0.0,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset(dataset, train), features=("source", "target"))
    return Experiment(
        task=Translation(
            EncoderDecoder(
                vocabulary=tokens,
                length=128,
                encoder=Stack(features, 3, heads, use_bias=False, dropout=dropout),
                decoder=Stack(features, 2, heads, use_bias=False, causal=True, cross=True, dropout=dropout),
            ),
            beam=4,
        ),
        data=Data(
            train=Packed(truncated_pairs(dataset, train, vocabulary)),
            evals={"validation": truncated_pairs(dataset, "validation", vocabulary)},
            test=truncated_pairs(dataset, "test", vocabulary),
            batch_size=24,
            eval_batch_size=64,
        ),
        optimizers={"train": text_muon(steps)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/bleu"),
    )
