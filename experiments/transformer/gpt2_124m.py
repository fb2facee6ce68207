"""GPT-2 with 124 million parameters (Radford et al. 2019), on 10 billion tokens at 0.5 million a step.

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/gpt2_124m.py --set=train=fineweb_train.bin
        --set=validation=fineweb_val.bin

Files of token ids in the plain format of nanoGPT and llm.c, GPT-2's own; `--set=header=1024` for llm.c's. Of a text:
python -m jaxdl.data.formats.token_file TEXT FILE.bin 50304 (and --set=shift=0).
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.formats.token_file import TokenFile
from jaxdl.models.gpt import gpt2
from jaxdl.tasks.language_modelling import language_modelling
from jaxdl.training.optimizers import adamw

METRIC = "validation/loss"


@auto_config
def experiment(
    train: str = "",
    validation: str = "",
    header: int = 0,
    shift: int = 4,
    steps: int = 19073,
    length: int = 1024,
    batch_size: int = 512,
    accumulate: int = 8,
    dtype: str = "bfloat16",
    remat: str = "nothing",
    learning_rate: float = 6e-4,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        # A vocabulary that 128 divides, with room for the four specials.
        task=language_modelling(gpt2(50_304, length, dtype=dtype, scan=True, remat=remat), carried=False, chunk=128),
        data=Data(
            train=TokenFile(train, length, header=header, shift=shift),
            evals={"validation": TokenFile(validation, length, header=header, shift=shift)},
            batch_size=batch_size,
            eval_batch_size=64,
        ),
        optimizers={
            "train": adamw(
                learning_rate=learning_rate, steps=steps, warmup=700 / 19_073, b2=0.95, weight_decay=0.1, clip_norm=1.0
            )
        },
        accumulate=accumulate,
        steps=steps,
        seed=seed,
        log_every=10,
        eval_every=250,
        save_every=1000,
    )


def sweep():
    return [{"learning_rate": rate} for rate in (6e-4, 1.8e-3)]
