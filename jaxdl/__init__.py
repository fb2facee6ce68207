"""jaxdl: every family of deep learning, trained from one-page recipes by one compiled train_step."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl.config.experiment import Experiment
    from jaxdl.data.dataset import Data, Dataset
    from jaxdl.distributed.mesh import Parallel
    from jaxdl.errors import NonFinite, Preempted, UserError
    from jaxdl.library import Run, load, train
    from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
    from jaxdl.training.spikes import Spikes
    from jaxdl.training.task import Evaluation, Outcome, Phase, Task, Term

__all__ = [
    "CheckpointPolicy",
    "Data",
    "Dataset",
    "Evaluation",
    "Experiment",
    "InitFromRun",
    "NonFinite",
    "Outcome",
    "Parallel",
    "Phase",
    "Preempted",
    "Run",
    "Spikes",
    "Task",
    "Term",
    "UserError",
    "load",
    "train",
]

_MODULES = {
    "jaxdl.config.experiment": ("Experiment",),
    "jaxdl.data.dataset": ("Data", "Dataset"),
    "jaxdl.distributed.mesh": ("Parallel",),
    "jaxdl.errors": ("NonFinite", "Preempted", "UserError"),
    "jaxdl.library": ("Run", "load", "train"),
    "jaxdl.training.checkpoint": ("CheckpointPolicy", "InitFromRun"),
    "jaxdl.training.spikes": ("Spikes",),
    "jaxdl.training.task": ("Evaluation", "Outcome", "Phase", "Task", "Term"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use, so that `import jaxdl` does not import JAX."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'jaxdl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
