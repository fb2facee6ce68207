"""Where and when the runs of a sweep are made: a function for each engine, `launch(jobs, options)`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from jaxdl.errors import UserError, nearest
from jaxdl.runs.files import telling, write_atomically


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


def settings_of(launcher: str, given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The settings of an engine: those that are known, with what was given in place of their defaults.

    Raises:
      UserError: one that does not exist.
    """
    for name in given:
        if name not in known:
            raise UserError(f"--launch={name}=... is no setting of {launcher}; {nearest(name, known)}")
    return {**known, **given}


def written(options: Options, default: str, text: str) -> Path:
    """Writes the launcher's file, and gives its path.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(options.output or default).expanduser()
    with telling(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return path


Launcher = Callable[[Sequence[Job], Options], None]


def _in(module: str) -> Launcher:
    """The function `launch` of a module here, imported when it is called."""
    return lambda jobs, options: importlib.import_module(f"{__name__}.{module}").launch(jobs, options)


_NAMES = ("local", "slurm", "kubernetes", "tpu")
LAUNCHERS: Mapping[str, Launcher] = MappingProxyType({name: _in(name) for name in _NAMES})
