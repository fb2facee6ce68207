"""Declarations of commands and their flags.

`jaxdl.commands.cli` reads the `COMMAND` of each module from its source, because importing the modules imports JAX.
So a declaration may only use the names in this module.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from absl import flags
from absl.flags import FlagValues

from jaxdl.distributed.processes import HEARTBEAT, Place


@dataclass(frozen=True)
class Flag:
    """Flag of a command.

    Attributes:
      name: Name without dashes.
      help: Description for `--help`.
      value: Placeholder of the value in `--help`, such as "DIR".
      kind: str, int, float or bool.
      default: Value if the flag is absent. () if the flag is repeatable.
      choices: Accepted values. Empty: any.
      minimum: Smallest accepted integer.
      instead: Spellings that the user may have meant if a command does not take this flag, the most likely first: a
        flag ("output"), an argument ("RUN") or a setting ("set=seed").
    """

    name: str
    help: str
    value: str = ""
    kind: type[str | float] = str
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    instead: tuple[str, ...] = ()

    def define(self, values: FlagValues) -> None:
        """Adds the flag to absl's flags."""
        if self.kind is bool:
            flags.DEFINE_boolean(self.name, self.default, self.help, flag_values=values)
        elif self.kind is int:
            flags.DEFINE_integer(self.name, self.default, self.help, lower_bound=self.minimum, flag_values=values)
        elif self.kind is float:
            flags.DEFINE_float(self.name, self.default, self.help, flag_values=values)
        elif self.default == ():
            flags.DEFINE_multi_string(self.name, [], self.help, flag_values=values)
        else:
            flags.DEFINE_string(self.name, self.default, self.help, flag_values=values)

    @property
    def is_path(self) -> bool:
        """Whether its value is the path of a file or folder, in which `~` is the home folder."""
        return self.value.startswith(("DIR", "FILE", "RECIPE"))

    @property
    def expected(self) -> str:
        """The values that it accepts, for messages."""
        if self.kind is bool:
            return "true or false"
        if self.kind is float:
            return "a number"
        return "an integer" if self.minimum is None else f"an integer of at least {self.minimum}"

    def __str__(self) -> str:
        if self.kind is bool:
            return f"--no{self.name}" if self.default else f"--{self.name}"
        return f"--{self.name}={'|'.join(self.choices) or self.value}"


@dataclass(frozen=True)
class Command:
    """Command of jaxdl, the module constant `COMMAND` beside a function `main(arguments, flags)`.

    Attributes:
      name: Name on the command line.
      summary: One line for `jaxdl --help`.
      synopsis: Arguments and flags of each way to call the command. Flags outside of brackets are required.
      flags: Flags that the command takes.
      example: Command line.
      needs: "devices" for computations, "jax" to import JAX, which takes most of a second, or "nothing".
    """

    name: str
    summary: str
    synopsis: tuple[str, ...]
    flags: tuple[Flag, ...]
    example: str
    needs: Literal["devices", "jax", "nothing"] = "devices"

    @property
    def usage(self) -> str:
        """The synopsis in one line."""
        return " | ".join(f"jaxdl {self.name} {line}".rstrip() for line in self.synopsis)

    def forms(self) -> Iterator["Form"]:
        """Yields each way to call the command."""
        for line in self.synopsis:
            words = line.split()
            arguments = tuple(word for word in words if not word.startswith(("-", "[-")))
            yield Form(arguments, tuple(word for word in words if word.startswith("-")))


@dataclass(frozen=True)
class Form:
    """One way to call a command.

    Attributes:
      arguments: Its arguments: "RUN", "FILE..." for one or more, "[FILE...]" for any number.
      flags: Its required flags, with their placeholders.
    """

    arguments: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of the required flags."""
        return frozenset(flag.lstrip("-").partition("=")[0] for flag in self.flags)

    def mismatch(self, arguments: list[str]) -> str:
        """Returns which arguments are missing or superfluous, "" if they fit."""
        required = [name for name in self.arguments if not name.startswith("[")]
        if len(arguments) < len(required):
            return f"{' '.join(required[len(arguments) :])} is missing"
        if len(arguments) > len(self.arguments) and not any("..." in name for name in self.arguments):
            return f"'{arguments[len(self.arguments)]}' is not expected"
        return ""


CONFIG = Flag(
    "config",
    "Recipe: a path such as experiments/cnn/digits.py, or a dotted module name.",
    value="RECIPE",
    instead=("RUN",),
)
SET = Flag(
    "set",
    "Argument of the recipe, or path in the configuration such as task.model.dropout. Repeatable.",
    value="NAME=VALUE",
    default=(),
)
SET_OF_RUN = Flag(
    "set",
    "Path in the run's configuration, such as task.temperature. Repeatable.",
    value="NAME=VALUE",
    default=(),
)
WORKDIR = Flag(
    "workdir",
    "Run folder, for train also its URL in an object store, such as s3://bucket/runs/mine. By default"
    " runs/<recipe>-<fingerprint of the configuration>; for sweep the parent folder, by default runs.",
    value="DIR",
    instead=("RUN", "output"),
)
STEP = Flag(
    "step",
    "Checkpoint to use. By default the newest, or the best if the recipe has select='best'.",
    value="N",
    kind=int,
    minimum=0,
    instead=("set=steps",),
)
TRUST = Flag(
    "trust",
    "Trust the code of the run, which another person may have written, as it is now. Read it first: eval, predict,"
    " explain, export and reproduce refuse it otherwise and name the files.",
    kind=bool,
    default=False,
)
FORMAT = Flag("format", "Format of the output.", default="text", choices=("text", "json"))
TOPOLOGY = Flag(
    "topology",
    "Target devices, which need not be present: v5e:16x16, h100:1x8, cpu:8. Required by plan; for show by default the"
    " devices of this machine.",
    value="KIND:SHAPE",
    instead=("cpu_devices",),
)
SHAPE = Flag("shape", "Use synthetic images of this shape instead of the recipe's data.", value="HEIGHT,WIDTH,CHANNELS")
DRY_RUN = Flag("dry_run", "Print what would be done without doing it.", kind=bool, default=False)
TRACKER = Flag(
    "tracker",
    "Also send metrics, pictures and result to this tracker: wandb or mlflow, or another module of jaxdl.trackers.",
    value="NAME",
    default="",
)
PROCESSES = (
    Flag(
        "processes",
        "Number of processes of a distributed run. Detected on SLURM, Kubernetes, Open MPI and TPU pods.",
        value="N",
        kind=int,
    ),
    Flag("process", "Index of this process, from 0.", value="N", kind=int, minimum=0),
    Flag("coordinator", "Address of process 0.", value="HOST:PORT"),
    Flag(
        "heartbeat",
        f"Seconds without a heartbeat after which a process counts as lost, by default {HEARTBEAT}.",
        value="SECONDS",
        kind=int,
        default=HEARTBEAT,
        minimum=1,
    ),
)
GLOBAL = (
    Flag("debug", "Show the traceback of a usage error.", kind=bool, default=False),
    Flag("cpu_devices", "Use this many virtual CPU devices.", value="N", kind=int, minimum=1),
    Flag("deterministic", "Allow nondeterministic GPU kernels, which can be faster.", kind=bool, default=True),
)


def place(values: FlagValues) -> Place:
    """Returns this process's place in a distributed run."""
    return Place(values.processes, values.process, values.coordinator, values.heartbeat)
