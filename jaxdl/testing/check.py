"""Check of a user's recipe against the laws."""

from collections.abc import Sequence

import jax

from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import UserError, nearest
from jaxdl.testing.laws import LAWS, Bench, without_dropout
from jaxdl.testing.sizes import tiny


def check_laws(recipe: str, names: Sequence[str] = ()) -> dict[str, str]:
    """Checks a recipe against the laws, at its test size (see `jaxdl.testing.tiny`).

    Laws 3 and 4 need eight devices: on a CPU call `jaxdl.runs.environment.configure(cpu_devices=8)` first.

    Args:
      recipe: Path or dotted name of the recipe, as for `--config`.
      names: Names of the laws to check. Default: all.

    Returns:
      {law: "holds" or why it was not checked}.

    Raises:
      AssertionError: The recipe breaks a law; the message names it.
      UserError: A law or the recipe does not exist, or the recipe has an error.
    """
    known, names = [law.name for law in LAWS], (names,) if isinstance(names, str) else names
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"no law '{unknown[0]}'; {nearest(unknown[0], known)}")
    config = tiny(load_recipe(recipe))
    bench, outcomes = Bench(build(config)), {}
    still = Bench(build(without_dropout(config)), bench)
    for law in LAWS:
        if names and law.name not in names:
            continue
        reason = law.exemption(bench)
        if law.name in ("devices", "pmap") and jax.device_count() < 8:
            reason = f"needs 8 devices, found {jax.device_count()}"
        if not reason:
            try:
                law.check(still if law.without_dropout else bench)
            except AssertionError as error:
                raise AssertionError(f"{recipe} breaks the law '{law.name}': {error}") from error
        outcomes[law.name] = reason or "holds"
    return outcomes
