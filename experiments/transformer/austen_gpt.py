"""Jane Austen, character by character: a small GPT with rotary positions, beside the LSTM of rnn/austen_chars.

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/austen_gpt.py
"""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.mock_text import MockText
from jaxdl.data.text import Windows
from jaxdl.data.tokens import Characters, Vocabulary
from jaxdl.experiment import Experiment, Keep
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import language_modelling
from jaxdl.training.optimizers import clip_by_norm, kernels

METRIC = "test/nats_per_character"


@auto_config
def experiment(
    steps: int = 2400,
    features: int = 192,
    layers: int = 4,
    heads: int = 6,
    dropout: float = 0.0,
    length: int = 128,
    batch_size: int = 24,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(Characters(88), Dataset("austen", "train"))
    return Experiment(
        task=language_modelling(
            Decoder(
                vocabulary=88,
                length=256,
                stack=Stack(features=features, layers=layers, heads=heads, causal=True, dropout=dropout),
            ),
            carried=False,
        ),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, length),
            evals={"validation": Windows(Dataset("austen", "validation"), vocabulary, length=64, context=64)},
            test=Windows(Dataset("austen", "test"), vocabulary, length=64, context=64),
            batch_size=batch_size,
            eval_batch_size=128,
        ),
        optimizers={
            "train": optax.chain(
                clip_by_norm(1.0),
                optax.adamw(
                    optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 20, steps),
                    b2=0.98,
                    weight_decay=0.01,
                    mask=kernels,
                ),
            )
        },
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1200,
        save_every=600,
        keep=Keep(metric="validation/nats_per_character", mode="min"),
    )


def tiny():
    config = experiment.as_buildable(steps=40, features=16, layers=1, heads=2, length=12, batch_size=16)
    config.task.model.length = 16
    config.task.new_tokens = 4
    config.data.train.corpus = MockText(examples=2, characters=1500)
    config.data.train.vocabulary.corpus = MockText(examples=2, characters=1500)
    config.data.evals["validation"].corpus = MockText(examples=1, characters=300, split="validation")
    config.data.evals["validation"].length = 12
    config.data.evals["validation"].context = 4
    config.data.test = None
    config.data.eval_batch_size = None
    return config


def sweep():
    return [{"seed": seed} for seed in range(3)]
