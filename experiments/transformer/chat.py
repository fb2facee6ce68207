"""Dialogue model on open-domain conversations: GPT with byte pair encoding.

Result: 1.125 test nats per character, 1 seed, 11.1 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/chat.py --workdir=runs/chat

Chat with a finished run: python launch.py predict runs/chat --interactive
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
def experiment(steps: int = 1400, tokens: int = 3000, length: int = 128, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset("chit_chat", "train"))
    return Experiment(
        task=LanguageModelling(
            Decoder(
                tokens,
                4 * length,
                Stack(192, 4, 6, causal=True, use_bias=False, norm="rms", window=length),
            ),
            carried=False,
            temperature=0.7,
            top_p=0.9,
            new_tokens=60,
            repetition_penalty=1.1,
            stop=("\n",),
        ),
        data=Data(
            train=Windows(Dataset("chit_chat", "train"), vocabulary, length),
            evals={"validation": Windows(Dataset("chit_chat", "validation"), vocabulary, length // 2, length // 2)},
            test=Windows(Dataset("chit_chat", "test"), vocabulary, length // 2, length // 2),
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


def sweep():
    return [{"task.temperature": temperature} for temperature in (0.5, 0.7, 1.0)]
