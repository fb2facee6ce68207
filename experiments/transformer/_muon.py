"""Optimizer of the Transformer recipes that train from scratch."""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.training.optimizers import muon


@auto_config
def text_muon(steps: int, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """Returns Muon for the matrices of the blocks and Adam for the rest, with the same schedule."""
    return muon(
        learning_rate=2e-2,
        adam_learning_rate=3e-3,
        steps=steps,
        warmup=0.05,
        b2=0.98,
        weight_decay=weight_decay,
    )
