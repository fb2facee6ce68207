"""Launchers of sweeps: one function `launch(jobs, options)` per engine."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from jaxdl.errors import UserError, nearest, write_errors
from jaxdl.home import expanded
from jaxdl.runs.files import write_atomically


@dataclass(frozen=True)
class Job:
    """Run to launch.

    Attributes:
      name: Overrides that distinguish it from the other runs.
      command: Command line, relative to the current folder.
      folder: Run folder.
      steps: Training steps of the finished run.
    """

    name: str
    command: Sequence[str]
    folder: Path
    steps: int


@dataclass(frozen=True)
class Options:
    """Options of a launcher.

    Attributes:
      slots: Number of concurrent runs. None: the launcher's default.
      retries: Number of retries of a failed run. A run that was stopped after saving its state (exit code 75) is always
        resumed; a usage error (2) is never retried.
      output: File of a launcher that writes one.
      more: Settings of the engine by name.
    """

    slots: int | None = None
    retries: int = 1
    output: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)


def settings_of(launcher: str, given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings of an engine: the defaults `known`, replaced by `given`.

    Raises:
      UserError: An unknown setting.
    """
    for name in given:
        if name not in known:
            raise UserError(f"--launch={name}=... is not a setting of {launcher}; {nearest(name, known)}")
    return {**known, **given}


def written(options: Options, default: str, text: str) -> Path:
    """Writes the launcher's file and returns its path.

    Raises:
      UserError: The file cannot be written.
    """
    path = expanded(options.output or default)
    with write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return path


Launcher = Callable[[Sequence[Job], Options], None]


def _in(module: str) -> Launcher:
    """Returns the function `launch` of a module of this package, which is imported at the call."""
    return lambda jobs, options: importlib.import_module(f"{__name__}.{module}").launch(jobs, options)


_NAMES = ("local", "slurm", "kubernetes", "tpu")
LAUNCHERS: Mapping[str, Launcher] = MappingProxyType({name: _in(name) for name in _NAMES})
