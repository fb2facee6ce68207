"""Test-sized configurations of recipes."""

import importlib.util
from typing import TYPE_CHECKING

from jaxdl.config.describe import as_config
from jaxdl.config.recipes import Recipe, repository_root
from jaxdl.errors import UserError

if TYPE_CHECKING:
    import fiddle as fdl


def tiny(recipe: Recipe) -> "fdl.Config":
    """Returns the recipe at a size that compiles in seconds, on generated data.

    Recipes of the repository have theirs in `tests/tiny/FAMILY/RECIPE.py`; other recipes define `tiny()` themselves.

    Raises:
      UserError: The recipe has none.
    """
    if callable(vars(recipe.module).get("tiny")):
        return as_config(vars(recipe.module)["tiny"]())
    path = repository_root() / "tests" / "tiny" / recipe.family / recipe.path.name
    if not (recipe.path.is_relative_to(repository_root()) and path.is_file()):
        raise UserError(f"{recipe.name} has no test size: define tiny() in it")
    spec = importlib.util.spec_from_file_location(f"tiny_{recipe.family}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return as_config(module.tiny())
