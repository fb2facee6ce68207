"""The optimizers of the study, by name."""

from collections.abc import Callable
from typing import Any

import optax
import optax.contrib

from jaxdl.training.optimizers import learning_rate_schedule

OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "sgd": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
    "nadam": optax.nadam,
    "adabelief": optax.adabelief,
    "lion": lambda rate: optax.lion(rate, weight_decay=0.0),
    "muon": optax.contrib.muon,  # Adam for biases
}
SCHEDULE_FREE = "schedule_free"
WARMUP = 0.1


def optimizer(name: str, rates: dict[str, float], steps: int, scale: float = 1.0) -> optax.GradientTransformation:
    """Returns an optimizer without weight decay: linear warmup, then cosine decay, which "schedule_free" goes without.

    Gradients are clipped at a global norm of 1.

    Args:
      name: A name of `OPTIMIZERS`, or "schedule_free", which is Adam under arXiv:2405.15682.
      rates: Peak learning rates by name.
      steps: Steps of the run.
      scale: Factor of the learning rate.
    """
    rate = rates[name] * scale
    if name == SCHEDULE_FREE:
        chosen = optax.contrib.schedule_free_adamw(rate, warmup_steps=int(WARMUP * steps), weight_decay=0.0)
    else:
        chosen = OPTIMIZERS[name](learning_rate_schedule(rate, steps, WARMUP, "cosine"))
    return optax.chain(optax.clip_by_global_norm(1.0), chosen)
