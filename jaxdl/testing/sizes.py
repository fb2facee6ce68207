"""Test-sized configurations of recipes."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import fiddle as fdl
import numpy as np

from jaxdl.config import resolve
from jaxdl.config.recipes import Recipe, repository_root
from jaxdl.config.settings import as_config
from jaxdl.data.source import ColumnSource, Loadable

_STEPS, _BATCH, _TRAIN, _EVAL = 32, 16, 48, 21  # the last batch of an evaluation is not full
_MEMBERS = 2


@dataclass(frozen=True)
class FirstExamples:
    """The first examples of another data set, in memory.

    Attributes:
      dataset: The data set.
      examples: Number of examples; at most the size of the data set.
    """

    dataset: Loadable
    examples: int

    def load(self) -> ColumnSource:
        source = self.dataset.load()
        count = min(self.examples, len(source))
        fingerprint = hashlib.sha256(f"first {count} of {source.fingerprint}".encode()).hexdigest()
        return ColumnSource(source.read(np.arange(count)), fingerprint, source.names)


def tiny(recipe: Recipe) -> fdl.Config:
    """Returns the configuration of a recipe at test size.

    In order of precedence: the recipe's function `tiny()`; `tests/tiny/FAMILY/RECIPE.py` for recipes of the
    repository; the recipe's own model and data with 32 steps, batches of 16 and the first examples.

    Raises:
      UserError: The recipe cannot be resolved.
    """
    if callable(vars(recipe.module).get("tiny")):
        return as_config(vars(recipe.module)["tiny"]())
    path = repository_root() / "tests" / "tiny" / recipe.family / recipe.path.name
    if recipe.path.is_relative_to(repository_root()) and path.is_file():
        return as_config(_imported(path, recipe.family).tiny())
    config = resolve(recipe, [f"steps={_STEPS}"])
    data = config.data
    evals = dict(data.evals) or {"validation": data.train}
    data.evals = {name: fdl.Config(FirstExamples, dataset, _EVAL) for name, dataset in evals.items()}
    data.train = fdl.Config(FirstExamples, data.train, _TRAIN)
    data.test, data.workers, data.batch_size, data.eval_batch_size = None, 0, _BATCH, None
    if config.__arguments__.get("ensemble"):
        config.ensemble = _MEMBERS
    for name in ("start", "accumulate", "keep", "select", "parallel", "log_every", "eval_every", "save_every"):
        if name in config.__arguments__:
            delattr(config, name)
    return config


def _imported(path: Path, family: str):
    spec = importlib.util.spec_from_file_location(f"tiny_{family}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
