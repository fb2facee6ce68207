"""The fast tier of the tests, `pytest -m "not slow"`.

It checks the laws on one recipe of each family, all data formats, the command line and its errors, one killed run and
one run of two processes. Only the full suite tests models, tasks, explanations, searches, chains of runs, collectives,
ensembles, object stores and random damage, simulates the statistics, and checks that each law fails if the code is
broken. The mark `pytest.mark.slow` excludes a single test.
"""

from pathlib import Path

import pytest

ONE_PER_FAMILY = (
    "experiments/cnn/digits.py",
    "experiments/rnn/adding_problem.py",
    "experiments/autoencoder/fashion_vae.py",
    "experiments/gan/fashion_dcgan.py",
    "experiments/diffusion/fashion_ddpm.py",
    "experiments/transformer/austen_gpt.py",
)
_SLOW_FOLDERS = ("interop", "launchers", "models", "peer", "tasks", "viz")
_SLOW_FILES = frozenset(
    f"test_{name}.py"
    for name in (
        *("accelerator", "chain", "collectives", "damage", "diagnostics", "ensemble", "explain", "follow", "hangs"),
        *("mutations", "object_stores", "over_examples", "reproduce", "sequential", "session", "spikes", "together"),
        *("tracked", "trials", "verify"),
    )
)


def is_slow(path: Path, parameters: dict[str, object]) -> bool:
    """Returns whether a test is slow by its path below `tests/`, or by the recipe that is its parameter."""
    recipe = str(parameters.get("recipe", ""))
    by_path = path.parts[0] in _SLOW_FOLDERS or path.name in _SLOW_FILES
    return by_path or (recipe.startswith("experiments/") and recipe not in ONE_PER_FAMILY)


def mark(items: list[pytest.Item], root: str) -> None:
    """Marks the slow tests among `items`, which are in the folder `root`."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if is_slow(item.path.relative_to(root), parameters):
            item.add_marker(pytest.mark.slow)
