"""GPT-2 (124M parameters) pretraining on 10 billion tokens.

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/gpt2_124m.py --set=data.train.path=fineweb_train.bin
        --set=data.evals.validation.path=fineweb_val.bin

Token files have the format of nanoGPT; for llm.c's add `--set=header=1024`. From a text file:
python -m jaxdl.data.formats.token_file TEXT FILE.bin 50304 (and --set=shift=0). Batches have 0.5 million tokens
(Radford et al. 2019; hyperparameters of llm.c).
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Experiment
from jaxdl.data.formats.token_file import TokenFile
from jaxdl.models.gpt import gpt2
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.training.optimizers import adamw

METRIC = "validation/loss"


@auto_config
def experiment(header: int = 0, shift: int = 4, steps: int = 19073, length: int = 1024, seed: int = 0) -> Experiment:
    return Experiment(
        # A vocabulary that 128 divides, with room for the four specials.
        task=LanguageModelling(
            gpt2(50_304, length, dtype="bfloat16", scan=True, remat="nothing"), carried=False, chunk=128
        ),
        data=Data(
            train=TokenFile("", length, header=header, shift=shift),
            evals={"validation": TokenFile("", length, header=header, shift=shift)},
            batch_size=512,
            eval_batch_size=64,
        ),
        optimizers={
            # Warmup, weight decay and clipping of llm.c.
            "train": adamw(
                learning_rate=6e-4, steps=steps, warmup=700 / 19_073, b2=0.95, weight_decay=0.1, clip_norm=1.0
            )
        },
        accumulate=8,
        steps=steps,
        seed=seed,
        log_every=10,
        eval_every=250,
        save_every=1000,
    )


def sweep():
    return [{"optimizers.train.learning_rate": rate} for rate in (6e-4, 1.8e-3)]
