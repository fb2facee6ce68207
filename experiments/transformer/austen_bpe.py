"""Language model on Jane Austen: GPT with byte pair encoding.

Result: 0.990 test nats per character, 1 seed, 11.3 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/austen_bpe.py

The metric is per character, so that it compares with austen_gpt.
"""

from fiddle.experimental.auto_config import auto_config

from experiments.transformer._muon import text_muon
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import LanguageModelling

METRIC = "test/nats_per_character"


@auto_config
def experiment(steps: int = 1500, tokens: int = 2000, length: int = 128, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset("austen", "train"))
    return Experiment(
        task=LanguageModelling(
            Decoder(
                tokens,
                2 * length,
                Stack(192, 4, 6, causal=True, use_bias=False, norm="rms", dropout=0.1, window=length),
            ),
            carried=False,
            new_tokens=80,
        ),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, length),
            evals={"validation": Windows(Dataset("austen", "validation"), vocabulary, length // 2, length // 2)},
            test=Windows(Dataset("austen", "test"), vocabulary, length // 2, length // 2),
            batch_size=24,
            eval_batch_size=128,
        ),
        optimizers={"train": text_muon(steps, weight_decay=0.05)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/nats_per_character", mode="min"),
    )
