"""Jane Austen, character by character: a small GPT beside the LSTM of rnn/austen_chars.

Result: 1.056 test nats per character, 1 seed, 7.5 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/austen_gpt.py

A token's vector has those of the two and the three characters that end there added to it (`--set=ngrams=()`: not), so
that the blocks begin with more than letters; and the blocks' kernels learn by Muon. Nobody looks further back than in
training: rotary positions are not known beyond.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import language_modelling
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.optimizers import muon

METRIC = "test/nats_per_character"


@auto_config
def experiment(
    steps: int = 1850,
    features: int = 128,
    layers: int = 4,
    heads: int = 4,
    dropout: float = 0.0,
    ngrams: tuple[int, ...] = (2, 3),
    slots: int = 16_384,
    length: int = 128,
    batch_size: int = 24,
    learning_rate: float = 2e-2,
    adam_learning_rate: float = 3e-3,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(Characters(88), Dataset("austen", "train"))
    return Experiment(
        task=language_modelling(
            Decoder(
                vocabulary=88,
                length=2 * length,
                stack=Stack(
                    features, layers, heads, causal=True, use_bias=False, norm="rms", dropout=dropout, window=length
                ),
                ngrams=ngrams,
                slots=slots,
            ),
            carried=False,
        ),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, length),
            evals={
                "validation": Windows(Dataset("austen", "validation"), vocabulary, length // 2, context=length // 2)
            },
            test=Windows(Dataset("austen", "test"), vocabulary, length // 2, context=length // 2),
            batch_size=batch_size,
            eval_batch_size=64,
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
        save_every=600,
        keep=CheckpointPolicy(metric="validation/nats_per_character", mode="min"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
