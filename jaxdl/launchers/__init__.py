"""Launchers of sweeps: one function `launch(jobs, options)` per engine."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxdl.errors import UserError, nearest, write_errors
from jaxdl.home import expanded
from jaxdl.runs.files import check_output, write_output

# Environment variable of the workers of a search: a name that a worker keeps when its engine starts it again.
WORKER = "JAXDL_WORKER"


@dataclass(frozen=True)
class Job:
    """Run to launch.

    Attributes:
      name: Overrides that distinguish it from the other runs.
      command: Command line, relative to the current folder.
      folder: Run folder.
      steps: Training steps of the finished run.
      worker: Whether it is not a run but a worker of a search, which trains trials until none is left.
    """

    name: str
    command: Sequence[str]
    folder: Path
    steps: int
    worker: bool = False


@dataclass(frozen=True)
class Options:
    """Options of a launcher.

    Attributes:
      slots: Number of concurrent runs. None: the launcher's default.
      retries: Number of retries of a failed run. A run that was stopped after saving its state (exit code 75), or
        locally was killed after saving a checkpoint, is always resumed; a usage error (2) or a pruned trial (76) is
        never retried.
      output: File of a launcher that writes one.
      more: Settings of the engine by name.
      flags: Flags of the command `train` of every run, such as "--tracker=wandb".
    """

    slots: int | None = None
    retries: int = 1
    output: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def settings_of(launcher: str, options: Options) -> dict[str, str]:
    """Returns the settings of an engine: its defaults `SETTINGS`, replaced by those given.

    Raises:
      UserError: An unknown or missing setting, or one that is not a number.
    """
    engine = _module(launcher)
    for name in options.more:
        if name not in engine.SETTINGS:
            raise UserError(f"--launch={name}=... is not a setting of {launcher}; {nearest(name, engine.SETTINGS)}")
    settings = {**engine.SETTINGS, **options.more}
    for name, form in engine.REQUIRED.items():
        if not settings[name]:
            raise UserError(f"--launch={name} is missing; pass --launch={name}={form}")
    for name, minimum in engine.NUMBERS.items():
        if not settings[name].isdecimal() or int(settings[name]) < minimum:
            raise UserError(f"--launch={name}={settings[name]} is not a number of at least {minimum}; correct it")
    for name, (pattern, form) in engine.FORMS.items():
        if settings[name] and not re.fullmatch(pattern, settings[name]):
            raise UserError(f"--launch={name}={settings[name]} has another form; write {form}")
    return settings


def check(launcher: str, options: Options) -> None:
    """Refuses settings and an output file that a launcher does not accept, before any run is planned.

    Raises:
      UserError: As `settings_of`, an output of a launcher that writes no file, or a file that it would replace.
    """
    settings_of(launcher, options)
    engine = _module(launcher)
    if options.output and not engine.FILE:
        raise UserError(f"--output is not written by --launcher={launcher}; drop it")
    if engine.FILE:
        check_output(expanded(options.output or engine.FILE), engine.MARK.encode())


def check_workers(jobs: Sequence[Job], processes: int) -> None:
    """Raises UserError if workers of a search are to run as several processes."""
    if processes > 1 and any(job.worker for job in jobs):
        raise UserError("the trials of a search are runs of one process; drop --launch=processes and --launch=nodes")


def written(launcher: str, options: Options, text: str) -> Path:
    """Writes the launcher's file, by default `FILE`, and returns its path.

    Raises:
      UserError: The file exists without the launcher's `MARK`, or cannot be written.
    """
    engine = _module(launcher)
    path = expanded(options.output or engine.FILE)
    with write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output(path, text, engine.MARK.encode())
    return path


Launcher = Callable[[Sequence[Job], Options], None]


def _module(name: str) -> Any:
    """Returns the module of an engine.

    It has `launch`, `SETTINGS` (defaults by name), `REQUIRED` (form of the value by name), `NUMBERS` (minimum by name),
    `FORMS` (regular expression, and form for messages, by name), and `FILE` and `MARK`, the default name of the file
    that it writes and a text in it, both "" if it writes none.
    """
    return importlib.import_module(f"{__name__}.{name}")


def _in(module: str) -> Launcher:
    """Returns the function `launch` of a module of this package, which is imported at the call."""
    return lambda jobs, options: _module(module).launch(jobs, options)


_NAMES = ("local", "slurm", "kubernetes", "tpu")
LAUNCHERS: Mapping[str, Launcher] = MappingProxyType({name: _in(name) for name in _NAMES})
