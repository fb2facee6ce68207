"""Trackers of experiments: one module per service, with a function `start(run)` and `PACKAGES`.

A tracker keeps a copy of a run: its configuration, metrics, pictures and result. `jaxdl.runs.tracked` decides what is
sent, from a background thread; a tracker only stores it. A module in this package is a value of `--tracker`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jaxdl.errors import UserError, check_packages, nearest


@dataclass(frozen=True)
class TrackedRun:
    """Run to track.

    Attributes:
      name: Name for people, that of the run folder.
      config: Hyperparameters, {path in the configuration: value}.
      folder: Folder for files of the tracker.
      key: Random identifier, the same in every attempt, for trackers that accept one.
      id: Identifier in the tracker. "" before the first start.
    """

    name: str
    config: Mapping[str, bool | int | float | str]
    folder: Path
    key: str
    id: str = ""


class Tracker(Protocol):
    """Connection to the tracker, for one attempt at a run.

    Attributes:
      id: Identifier of the run in the tracker, which the next attempt resumes.
      step: Last step that the tracker has stored; -1 for none.
    """

    id: str
    step: int

    def log(self, step: int, metrics: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """Stores the metrics {split/name: value} and the pictures {name: PNG file} of a step, which is never repeated.

        The steps increase.
        """

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Waits until everything is stored, and ends the connection.

        Args:
          result: Content of result.json. None: the run is not finished.
        """


def start(name: str, run: TrackedRun) -> Tracker:
    """Connects to a tracker; a run with an `id` is continued."""
    return _module(name).start(run)


def check(name: str, installed: bool = True) -> None:
    """Raises UserError if a tracker does not exist, or, with `installed`, if its package is not installed."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in names:
        raise UserError(f"--tracker={name} is unknown; {nearest(name, names)}")
    if installed:
        check_packages(_module(name).PACKAGES, f"--tracker={name}")


def _module(name: str) -> Any:
    """Returns the module of a tracker.

    It has `start(run)` and `PACKAGES`, {package: extra of pyproject.toml that contains it}.
    """
    return importlib.import_module(f"{__name__}.{name}")
