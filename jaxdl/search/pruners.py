"""Pruners of a hyperparameter search, which stop trials with poor intermediate values."""

from typing import Any

PRUNERS = ("asha", "hyperband", "median")


def make(name: str | None, first: int, steps: int) -> Any:
    """Returns the Optuna pruner of a name.

    - "asha": asynchronous successive halving (arXiv:1810.05934). At `first`, 4 * `first`, 16 * `first`, ... steps the
      best quarter of the trials continues.
    - "hyperband": Hyperband (arXiv:1603.06560), successive halving by thirds with different first steps.
    - "median": stops trials below the median of the others at the same step, after five trials.

    Args:
      name: One of `PRUNERS`; None: no trial is pruned.
      first: Step of a trial's first evaluation.
      steps: Steps of a trial.
    """
    from optuna import pruners

    if name == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=4)
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=first, max_resource=steps, reduction_factor=3)
    return pruners.MedianPruner() if name == "median" else pruners.NopPruner()
