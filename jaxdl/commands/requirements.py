"""Runs that a recipe is initialized from, the module constant REQUIRES: {path in the configuration: recipe}."""

from collections.abc import Callable

import fiddle as fdl

from jaxdl.config.recipes import Recipe
from jaxdl.errors import UserError, warn
from jaxdl.remote import exists, local_run
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.places import is_run


def ensure(recipe: Recipe, config: fdl.Config, train: Callable[[str, str], object] | None) -> None:
    """Checks that the runs that a configuration is initialized from exist, or trains them.

    An unfinished run with a checkpoint is accepted with a warning.

    Args:
      recipe: Recipe. Its `REQUIRES` maps a path in the configuration, such as "start.run", to the recipe that is
        trained in the folder of that name.
      config: Resolved configuration. A path that is not in it, as after --set=start=None, requires nothing.
      train: Called with (recipe, run folder) for a run that is not finished. None: not finished is an error.

    Raises:
      UserError: A run has no checkpoint, and `train` is None.
    """
    for path, required in getattr(recipe.module, "REQUIRES", {}).items():
        folder = _value(config, path)
        if folder is None:
            continue
        if train is not None:
            train(required, folder)
        elif not (exists(folder) and is_run(local_run(folder)) and RunFolder.open(folder).has_checkpoint):
            raise UserError(
                f"{path}: {folder} has no checkpoint; pass --with_requirements, or train it first:"
                f" jaxdl train --config={required} --workdir={folder}"
            )
        elif not (local_run(folder) / "result.json").exists():
            warn(f"{path}: {folder} is not finished; its checkpoint is used. --with_requirements finishes it first")


def _value(config: fdl.Config, path: str) -> str | None:
    value = config
    for name in path.split("."):
        value = getattr(value, name, None)
    return value if isinstance(value, str) else None
