"""English-German translation of LibreOffice help: Transformer encoder-decoder.

Result: 23.52 test bleu, 1 seed, 9.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/translate_en_de.py

Compares with the LSTM of rnn/translate_en_de.

Other languages: `--set=dataset=libreoffice_fr`. Own data, one tab-separated pair per line: `--set=dataset=pairs:FILE`
and splits such as `--set=data.evals.validation.corpus.split='train[90%:95%]'`.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.packing import Packed
from jaxdl.data.text.pairs import Pairs
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.t5 import EncoderDecoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.translation import Translation
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import muon

METRIC = "test/bleu"


@auto_config
def pairs(dataset: str, split: str, vocabulary: Vocabulary) -> Pairs:
    """Returns pairs truncated to 96 tokens."""
    return Pairs(Dataset(dataset, split), vocabulary, source_length=96, target_length=96, overflow="truncate")


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
            train=Packed(pairs(dataset, train, vocabulary)),
            evals={"validation": pairs(dataset, "validation", vocabulary)},
            test=pairs(dataset, "test", vocabulary),
            batch_size=24,
            eval_batch_size=64,
        ),
        optimizers={"train": muon(learning_rate=2e-2, adam_learning_rate=3e-3, steps=steps, warmup=0.05, b2=0.98)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        save_every=500,
        keep=CheckpointPolicy(metric="validation/bleu"),
    )
