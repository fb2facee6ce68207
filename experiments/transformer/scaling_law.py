"""Scaling law of a character-level GPT on Jane Austen: five sizes, three token budgets (arXiv:2203.15556).

Result: none recorded yet
Run:    python launch.py sweep --config=experiments/transformer/scaling_law.py --slots=1 --workdir=runs/scaling
        python launch.py report runs/scaling --fit=scaling

The fit predicts the largest run of the sweep, which is the default configuration here, from the fourteen smaller ones.
All runs see less than one epoch, and the schedule of each ends with its last step.
"""

from fiddle.experimental.auto_config import auto_config

from experiments.transformer._muon import text_muon
from jaxdl import Data, Dataset, Experiment
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import LanguageModelling

METRIC = "validation/nats_per_character"


@auto_config
def experiment(width: int = 128, steps: int = 3000, length: int = 128, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Characters(88), Dataset("austen", "train"))
    return Experiment(
        task=LanguageModelling(
            Decoder(
                vocabulary=88,
                length=2 * length,
                stack=Stack(width, 2, width // 16, causal=True, use_bias=False, norm="rms", window=length),
            ),
            carried=False,
        ),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, length),
            # Windows without context halve the cost of the evaluation.
            evals={"validation": Windows(Dataset("austen", "validation"), vocabulary, length)},
            # Below the critical batch size, so that tokens and not steps limit the loss. With batches of 24 and a third
            # of the steps, the prediction was 3.4% too low.
            batch_size=8,
            eval_batch_size=64,
        ),
        optimizers={"train": text_muon(steps)},
        steps=steps,
        seed=seed,
        log_every=150,
        eval_every=steps,
        save_every=steps,
    )


def sweep():
    return [{"width": width, "steps": steps} for width in (32, 48, 64, 96, 128) for steps in (750, 1500, 3000)]
