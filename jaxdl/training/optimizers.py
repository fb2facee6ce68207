"""Optimizer factories with schedules; weight-decay mask, learning rates by layer, EMA decay.

Patterns of parameters are those of `jaxdl.training.by_path`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib

from jaxdl.errors import UserError, nearest
from jaxdl.training.by_path import freeze, scale_by_path, train_only

PyTree = Any
Schedule = str | Callable[[Any], Any]


class Scheduled(optax.GradientTransformationExtraArgs):
    """Optimizer of which the learning rate is known, so that a run's metrics contain it.

    Attributes:
      learning_rate: Number, or function of the number of updates.
    """

    learning_rate: float | optax.Schedule


def weight_decay_mask(params: Any) -> Any:
    """Returns a mask tree: True for kernels and embeddings, False for biases, scales and other vectors.

    Biases and scales are recognized by their names, since those of blocks stacked by `nn.scan` have two axes.
    """

    def decayed(path: tuple, leaf: Any) -> bool:
        return leaf.ndim > 1 and not "".join(_names(path)[-1:]).endswith(("bias", "scale"))

    return jax.tree_util.tree_map_with_path(decayed, params)


def _names(path: tuple) -> list[str]:
    """Returns the keys on a path, without boxes around parameters."""
    return [str(entry.key) for entry in path if hasattr(entry, "key")]


def adamw(
    learning_rate: float,
    steps: int,
    *,
    warmup: int | float = 0.0,
    schedule: Schedule = "cosine",
    hold: int | float = 0.0,
    final: float = 0.0,
    weight_decay: float = 0.01,
    mask: Callable[[PyTree], PyTree] | None = weight_decay_mask,
    clip_norm: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    frozen: tuple[str, ...] = (),
    train_only: tuple[str, ...] = (),
    scales: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (arXiv:1711.05101) under a learning-rate schedule.

    Args:
      learning_rate: Peak of the schedule.
      steps: Steps of the run, in which the schedule ends.
      warmup: Linear warmup from 0: a number of steps (int) or a fraction of `steps` (float).
      schedule: "cosine", "linear" or "constant" after the warmup, or a function of the step whose values, after
        the warmup, multiply the peak.
      hold: Steps at the peak between warmup and decay, in the same units as `warmup`.
      final: Learning rate at the end of "cosine" and "linear", as a fraction of the peak.
      weight_decay: Coefficient of the decay; the learning rate multiplies it.
      mask: Function from the parameters to the mask tree of the weight decay. None decays all parameters.
      clip_norm: Maximum global norm of the gradients (arXiv:1211.5063). None or 0 disables clipping.
      b1: Decay rate of the first moment.
      b2: Decay rate of the second moment.
      eps: Constant added to the denominator.
      frozen: Patterns of parameters that are not trained, see `freeze`.
      train_only: Patterns of the only parameters that are trained, see the function `train_only`.
      scales: Learning-rate factors by pattern, see `scale_by_path` and `layer_decay`.

    Raises:
      UserError: A schedule, warmup, hold or clip_norm out of range; see also the functions named above.
    """
    rate = learning_rate_schedule(learning_rate, steps, warmup, schedule, hold, final)
    optimizer = optax.adamw(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask)
    return _assembled(rate, [optimizer], clip_norm, frozen, train_only, scales)


def adam(
    learning_rate: float,
    steps: int,
    *,
    warmup: int | float = 0.0,
    schedule: Schedule = "cosine",
    hold: int | float = 0.0,
    final: float = 0.0,
    clip_norm: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    frozen: tuple[str, ...] = (),
    train_only: tuple[str, ...] = (),
    scales: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """Adam (arXiv:1412.6980) under a learning-rate schedule; arguments as in `adamw`."""
    rate = learning_rate_schedule(learning_rate, steps, warmup, schedule, hold, final)
    return _assembled(rate, [optax.adam(rate, b1=b1, b2=b2, eps=eps)], clip_norm, frozen, train_only, scales)


def sgd(
    learning_rate: float,
    steps: int,
    *,
    warmup: int | float = 0.0,
    schedule: Schedule = "cosine",
    hold: int | float = 0.0,
    final: float = 0.0,
    weight_decay: float = 0.0,
    mask: Callable[[PyTree], PyTree] | None = weight_decay_mask,
    clip_norm: float | None = None,
    momentum: float | None = 0.9,
    nesterov: bool = True,
    frozen: tuple[str, ...] = (),
    train_only: tuple[str, ...] = (),
    scales: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum and L2 regularization; other arguments as in `adamw`.

    Args:
      weight_decay: L2 coefficient; the decay is added to the gradient before the momentum.
      momentum: Decay rate of the momentum. None disables it.
      nesterov: Whether the momentum is Nesterov's.
    """
    rate = learning_rate_schedule(learning_rate, steps, warmup, schedule, hold, final)
    decay = [optax.add_decayed_weights(weight_decay, mask=mask)] if weight_decay else []
    optimizer = optax.sgd(rate, momentum=momentum, nesterov=nesterov)
    return _assembled(rate, [*decay, optimizer], clip_norm, frozen, train_only, scales)


def muon_dimensions(params: Any) -> Any:
    """Returns the dimension numbers for Muon: matrices of Transformer blocks; None, for Adam, elsewhere.

    The matrices are kernels whose path has a part "block..."; those of scanned blocks have a leading axis. Embeddings
    and the first and last layers are trained by Adam (Jordan et al. 2024).
    """

    def numbers(path: tuple, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        names = _names(path)
        matrix = names[-1] == "kernel" or leaf.ndim > 2  # experts have no module for each kernel
        inside = any(name.startswith("block") for name in names[:-1])
        return optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1) if inside and matrix else None

    return jax.tree_util.tree_map_with_path(numbers, params)


def muon(
    learning_rate: float,
    steps: int,
    *,
    adam_learning_rate: float,
    warmup: int | float = 0.0,
    schedule: Schedule = "cosine",
    hold: int | float = 0.0,
    final: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    beta: float = 0.95,
    b1: float = 0.9,
    b2: float = 0.999,
    dimensions: Callable[[PyTree], PyTree] = muon_dimensions,
    frozen: tuple[str, ...] = (),
    train_only: tuple[str, ...] = (),
    scales: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """Muon for the matrices of blocks (Jordan et al. 2024), Adam for the rest; other arguments as in `adamw`.

    Args:
      learning_rate: Peak of Muon's schedule.
      adam_learning_rate: Peak of Adam's schedule, which has the same shape.
      weight_decay: Decoupled weight decay of the matrices.
      beta: Decay rate of Muon's momentum.
      b1: Decay rate of Adam's first moment.
      b2: Decay rate of Adam's second moment.
      dimensions: Function from the parameters to Muon's dimension numbers, None for Adam's parameters.
    """
    rates = [
        learning_rate_schedule(peak, steps, warmup, schedule, hold, final)
        for peak in (learning_rate, adam_learning_rate)
    ]
    optimizer = optax.contrib.muon(
        rates[0],
        beta=beta,
        weight_decay=weight_decay,
        adam_learning_rate=rates[1],
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=dimensions,
    )
    return _assembled(rates[0], [optimizer], clip_norm, frozen, train_only, scales)


def learning_rate_schedule(
    peak: float, steps: int, warmup: int | float, schedule: Schedule, hold: int | float = 0.0, final: float = 0.0
) -> float | optax.Schedule:
    """Returns the learning rate as a function of the step: linear warmup, constant, then decay; see `adamw`."""
    start = _steps("warmup", warmup, steps)
    decay_start = start + _steps("hold", hold, steps)
    if schedule in ("cosine", "linear") and decay_start >= steps:
        raise UserError(f"warmup and hold take {decay_start} of {steps} steps; leave steps for the decay")
    if schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, steps - decay_start, alpha=final)
    elif schedule == "linear":
        decay = optax.linear_schedule(peak, final * peak, steps - decay_start)
    elif schedule == "constant":
        if not start:
            return peak
        decay = optax.constant_schedule(peak)
    elif callable(schedule):
        decay = _times(peak, schedule)
    else:
        raise UserError(f"schedule is '{schedule}'; {nearest(str(schedule), ('cosine', 'linear', 'constant'))}")
    pieces, boundaries = [], []
    if start:
        pieces, boundaries = [optax.linear_schedule(0.0, peak, start)], [start]
    if decay_start > start:
        pieces, boundaries = [*pieces, optax.constant_schedule(peak)], [*boundaries, decay_start]
    return optax.join_schedules([*pieces, decay], boundaries) if pieces else decay


def _times(peak: float, factor: Callable[[Any], Any]) -> optax.Schedule:
    return lambda step: peak * factor(step)


def _steps(name: str, value: int | float, steps: int) -> int:
    """The number of steps that an int or a fraction of `steps` stands for."""
    if value < 0 or (isinstance(value, float) and value >= 1):
        raise UserError(f"{name} is {value}; give a number of steps, such as 500, or a fraction below 1, such as 0.05")
    return value if isinstance(value, int) else int(value * steps + 1e-6)  # 1e-6: 0.07 * 100 is 7.000000000000001


def _assembled(
    rate: float | optax.Schedule,
    optimizer: list[optax.GradientTransformation],
    clip_norm: float | None,
    frozen: tuple[str, ...],
    only: tuple[str, ...],
    scales: Mapping[str, float] | None,
) -> optax.GradientTransformation:
    """Clipping, the optimizer and the factors in this order, for the parameters that are trained."""
    if clip_norm is not None and clip_norm < 0:
        raise UserError(f"clip_norm is {clip_norm}; give a positive norm, or None to disable clipping")
    parts = [
        *([optax.clip_by_global_norm(clip_norm)] if clip_norm else []),
        *optimizer,
        *([scale_by_path(scales)] if scales else []),
    ]
    whole = optax.chain(*parts) if len(parts) > 1 else parts[0]
    if only:
        whole = train_only(whole, only)
    whole = Scheduled(*optax.with_extra_args_support(freeze(whole, frozen) if frozen else whole))
    whole.learning_rate = rate
    return whole


def layer_decay(
    rate: float, layers: int, stack: str = "encoder/stack", before: str = "encoder/embed"
) -> dict[str, float]:
    """Returns learning-rate factors that decrease with the distance from the head (arXiv:2003.10555).

    Block i of `layers`, counted from 0, has the factor rate^(layers - i); the modules under `before` have
    rate^(layers + 1), all others 1. For `scales=` of an optimizer, or for `scale_by_path`.

    Raises:
      UserError: A rate that is not above 0 and at most 1.
    """
    if not 0.0 < rate <= 1.0:
        raise UserError(f"layer_decay({rate}): must be above 0 and at most 1")
    blocks = {f"{stack}/block_{number}": rate ** (layers - number) for number in range(layers)}
    return {before: rate ** (layers + 1), **blocks}


def mup_scales(features: int, base: int = 64, stack: str = "stack") -> dict[str, float]:
    """Returns Adam's learning-rate factors of a `Stack` with `scale="mup"` (arXiv:2203.03466, table 8).

    Kernels of blocks have the factor base / features. Embeddings, norms, biases and output layers have 1. For `scales=`
    of `adam` and `adamw`; the decay of `adamw` has the factor too. Not for SGD or Muon, whose factors differ.

    Args:
      features: Width of the stack.
      base: Its `base`.
      stack: Path of the stack.

    Raises:
      UserError: Widths that are not positive.
    """
    if min(features, base) <= 0:
        raise UserError(f"mup_scales({features}, {base}): widths must be positive")
    return {f"*{stack}/block*/kernel": base / features}


def power_average(width: float = 0.1) -> Callable[[Any], Any]:
    """Returns the decay of a power-function EMA (arXiv:2312.02696), for `Experiment.ema`.

    After t steps the weight of the parameters of step s is proportional to s^gamma.

    Args:
      width: Relative width sigma_rel of the profile, below 0.28: the std of s / t under these weights.

    Returns:
      Function from the step, from 1 on, to the decay (1 - 1 / step)^(gamma + 1).

    Raises:
      UserError: A width out of range.
    """
    if not 0 < width < 12**-0.5:
        raise UserError(f"power_average({width}): must be above 0 and below 0.28")
    # width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), whose largest root is gamma.
    gamma = float(max(np.roots([1.0, 7.0, 16.0 - width**-2, 12.0 - width**-2]).real))
    return lambda step: (1.0 - 1.0 / step) ** (gamma + 1.0)
