"""Llama 2 (7B parameters) pretraining with FSDP.

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/llama_7b.py --set=data.train.path=tokens_train.bin
        --set=data.evals.validation.path=tokens_val.bin

Architecture and hyperparameters of Touvron et al. 2023 (arXiv:2307.09288). For token files see transformer/gpt2_124m.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Experiment, Parallel
from jaxdl.data.formats.token_file import TokenFile
from jaxdl.models.gpt import llama
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.training.optimizers import adamw

METRIC = "validation/loss"


@auto_config
def experiment(shift: int = 0, steps: int = 500_000, length: int = 4096, seed: int = 0) -> Experiment:
    return Experiment(
        task=LanguageModelling(
            llama(32_000, length, dtype="bfloat16", scan=True, remat="dots"), carried=False, chunk=256
        ),
        data=Data(
            train=TokenFile("", length, shift=shift),
            evals={"validation": TokenFile("", length, shift=shift)},
            batch_size=1024,
        ),
        optimizers={
            "train": adamw(
                learning_rate=3e-4,
                steps=steps,
                warmup=0.004,  # 2,000 steps
                final=0.1,
                b2=0.95,
                weight_decay=0.1,
                clip_norm=1.0,
            )
        },
        parallel=Parallel(mesh={"data": 1, "fsdp": -1, "tensor": 1}),
        steps=steps,
        seed=seed,
        log_every=10,
        eval_every=1000,
        save_every=1000,
    )


def sweep():
    return [{"optimizers.train.learning_rate": rate} for rate in (1.5e-4, 3e-4)]
