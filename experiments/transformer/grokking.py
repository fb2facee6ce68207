"""Grokking on addition modulo 53: one-layer Transformer, full batch, weight decay (arXiv:2301.05217).

Result: 0.999 test accuracy, 1 seed, 2.6 min, 17 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/transformer/grokking.py

The training split, 40% of all pairs, is fitted within some hundred steps; the test accuracy rises much later, and with
less weight decay later still. All runs of the sweep in one program:
python launch.py sweep --config=experiments/transformer/grokking.py --together=8
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Experiment
from jaxdl.data.synthetic.arithmetic import ModularAddition
from jaxdl.models.bert import Encoder, SequenceClassifier
from jaxdl.models.transformer import Stack
from jaxdl.tasks.sequence_classification import SequenceClassification
from jaxdl.training.optimizers import adamw

METRIC = "test/accuracy"


@auto_config
def experiment(steps: int = 4000, weight_decay: float = 1.0, seed: int = 0) -> Experiment:
    return Experiment(
        task=SequenceClassification(
            SequenceClassifier(Encoder(vocabulary=54, length=3, stack=Stack(128, 1, 4)), outputs=53)
        ),
        data=Data(
            train=ModularAddition(53, 0.4),
            evals={"validation": ModularAddition(53, 0.4, "validation")},
            test=ModularAddition(53, 0.4, "test"),
            batch_size=1124,  # all examples
            eval_batch_size=843,
        ),
        optimizers={
            "train": adamw(
                learning_rate=1e-3,
                steps=steps,
                warmup=10,
                schedule="constant",
                weight_decay=weight_decay,
                mask=None,
                b2=0.98,
            )
        },
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=200,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )


def sweep():
    return [{"seed": seed, "weight_decay": decay} for decay in (1.0, 0.3) for seed in range(4)]
