"""Where and when the runs of a sweep are made: a function for each engine, `launch(jobs, options)`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Attributes:
      name: what tells it from the others, for people.
      command: its command line, from the present folder.
      folder: the run folder.
      steps: how many it has when it is finished.
    """

    name: str
    command: Sequence[str]
    folder: Path
    steps: int


@dataclass(frozen=True)
class Options:
    """What a launcher is told.

    Attributes:
      slots: runs at once; None: what the launcher takes for the best.
      retries: how often a run that failed is tried again. One that was stopped and has saved its state goes on however
        often that happens; one that has told of a mistake is not tried again.
      output: the file for a launcher that writes one.
      more: settings of the engine, by name.
    """

    slots: int | None = None
    retries: int = 1
    output: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)


Launcher = Callable[[Sequence[Job], Options], None]


def _in(module: str) -> Launcher:
    """The function `launch` of a module here, imported when it is called."""
    return lambda jobs, options: importlib.import_module(f"{__name__}.{module}").launch(jobs, options)


LAUNCHERS: Mapping[str, Launcher] = MappingProxyType({name: _in(name) for name in ("local",)})
