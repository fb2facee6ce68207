"""The command `jaxdl`: finds the command, parses its flags, runs it and returns the exit code."""

import codecs
import difflib
import functools
import importlib
import io
import json
import os
import re
import select
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from absl.flags import FlagValues

from jaxdl.commands import MODULES
from jaxdl.commands import flags as declarations
from jaxdl.commands.flags import GLOBAL, Command, Flag, Form, place
from jaxdl.compatibility import backends_initialized
from jaxdl.distributed.processes import WATCHED
from jaxdl.errors import (
    LIMITS,
    Failed,
    NonFinite,
    Preempted,
    UserError,
    WriteError,
    cause_and_remedy,
    nearest,
    printable,
)
from jaxdl.home import refuse_url
from jaxdl.runs.environment import configure, end_with_parent, tune_malloc
from jaxdl.signals import handle_signals, interrupt, kept
from jaxdl.streams import lasting

_HELP = ("--help", "-help", "-h")
_TRAINING = ("train", "sweep", "reproduce")  # commands that outlive the reader of their output
_WIDTH = 100
_OVERVIEW = """\
jaxdl: Flax models of all deep-learning families, trained from recipes by one compiled train_step.

usage: jaxdl [COMMAND] [ARGUMENT ...] [--FLAG=VALUE ...]

commands (train if none is given):
{commands}

jaxdl COMMAND --help describes a command and its flags.

exit codes:
  0   done
  2   usage error: an error that the user can fix, described in one line
  75  stopped by a signal or by the loss of another process, and saved: run the same command again
  76  pruned by a search, and saved: the same command resumes the run
  1   any other error"""
_CLOSE = 0.8  # similarity of a misspelled flag; "--steps" and "--set" have 0.75


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      words: The command line without the program. None: that of this process.

    Returns:
      The exit code.
    """
    if words is not None:
        return _main(words, program=False)
    escape_output()
    end_with_parent()
    logging.use_absl_handler()
    try:
        code = _main(sys.argv[1:], program=True)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stopped:
        print(f"stopped: {stopped or 'SIGINT'}; run the same command again", file=sys.stderr)
        return 75
    except OSError as error:
        if not _output_fails():
            raise
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        _discard_output()
        return 2


def _main(words: Sequence[str], program: bool) -> int:
    try:
        name, rest = _split(words)
        if set(_HELP) & set(words):
            print(_overview() if name is None else help_text(_command(name)))
            return 0
        command = _command(name or "train")
        arguments, values = parse(command, rest)
    except UserError as error:
        _print("error", error)
        return 2
    if program and command.needs == "devices":
        tune_malloc()
    if "processes" in values and place(values).several and WATCHED not in os.environ:
        from jaxdl.distributed.watchdog import watch

        return watch([sys.executable, *sys.orig_argv[1:]])
    return _run(command, arguments, values, program)


def escape_output() -> None:
    r"""Escapes characters that standard output cannot encode, such as a file name's undecodable bytes: "\udcff"."""

    def escape(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end

    codecs.register_error("json", escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json")


def _run(command: Command, arguments: list[str], values: FlagValues, program: bool) -> int:
    """Runs a command and reports its exceptions in one line each.

    Args:
      command: Command.
      arguments: Its arguments.
      values: Its flags.
      program: Whether this process ends with the command.
    """
    if program:
        logging.set_verbosity(logging.WARNING)
    if program and command.name in _TRAINING:
        sys.stdout = lasting(sys.stdout, "standard output cannot be written, the command continues without it")
    if program and command.name != "train":
        handle_signals(interrupt)
    try:
        _check_folder()
        if command.needs != "nothing":
            several = "processes" in values and place(values).several
            configure(values.cpu_devices, values.deterministic, several, tuned=command.needs == "devices")
    except UserError as error:
        _print("error", error)
        return 2
    try:
        if "trust" in values and values.trust:
            from jaxdl.runs.restore import trust_run

            trust_run(arguments[0])
        with kept(KeyboardInterrupt):
            importlib.import_module(_modules()[command]).main(arguments, values)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _output_closed():
            raise
        _discard_output()
        return 1
    except (UserError, OSError, MemoryError, RuntimeError, AssertionError) as error:
        known = _as_user_error(error)
        if values.debug or known is None:
            raise
        _print("error", known)
        if program and isinstance(error, WriteError):
            # Orbax's threads would wait for the failed save, or print a traceback each while Python shuts down.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)
        return 2
    except Preempted as stopped:
        _print("stopped", stopped)
        return stopped.exit_code
    except Failed as error:
        _print("failed", error)
        return 1
    except NonFinite as error:
        _print("stopped", f"{error}; checkpoints that were saved before are kept")
        return 1
    return 0


def _print(kind: str, message: object) -> None:
    print(f"{kind}: {printable(str(message))}", file=sys.stderr)


def _as_user_error(error: Exception) -> UserError | None:
    """Returns the usage error for a refused path, sizes beyond the memory, or a missing platform; None for others."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and (error.filename is not None or error.errno in LIMITS):
        name = error.filename or "files"
        return UserError(f"cannot access {name}: {cause_and_remedy(error, 'check the path and its permissions')}")
    if isinstance(error, MemoryError):
        return UserError(f"not enough memory ({error or 'allocation failed'}); use smaller files, sizes or batches")
    if isinstance(error, RuntimeError) and str(error).startswith("Unable to initialize backend"):
        reason = " ".join(str(error).split())
        return UserError(f"{reason}; correct JAX_PLATFORMS, or install the platform's package")
    platforms = os.environ.get("JAX_PLATFORMS")
    if isinstance(error, AssertionError) and platforms and not backends_initialized():  # JAX found none of them
        return UserError(f"JAX_PLATFORMS={platforms}: JAX finds no such device; correct it, or install its package")
    return None


def _check_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder was deleted; change to another one") from None


def _output_closed() -> bool:
    """Returns whether the reader of standard output has ended, as `head` does when it has read enough."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _output_fails() -> bool:
    """Returns whether standard output cannot be written, as on a full device."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except OSError:
        return True
    return False


def _discard_output() -> None:
    """Drops what is left of the output, which Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def commands() -> dict[str, Command]:
    """Returns the declared commands by name."""
    return {command.name: command for command in _modules()}


@functools.cache
def _modules() -> dict[Command, str]:
    """Returns the module of each command; declarations are read from the source, without importing JAX."""
    found = {}
    for module in MODULES:
        source = (Path(__file__).parent / f"{module}.py").read_text()
        declaration = source.partition("\nCOMMAND = ")[2].partition("\n)\n")[0]
        found[eval(f"{declaration}\n)", dict(vars(declarations)))] = f"jaxdl.commands.{module}"
    return found


def _command(name: str) -> Command:
    if name in commands():
        return commands()[name]
    if name.endswith(".py"):
        raise UserError(f"unknown command '{name}'; train a recipe with --config={name}")
    raise UserError(f"unknown command '{name}'; {nearest(name, commands())}")


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Returns the command, which is the first word that is neither a flag nor the value of one, and all other words."""
    takes_value = {f"--{flag.name}" for flag in _all_flags() if flag.kind is not bool}
    for index, word in enumerate(words):
        if not word.startswith("-") and (index == 0 or _underscores(words[index - 1]) not in takes_value):
            return word, [*words[:index], *words[index + 1 :]]
    return None, list(words)


def parse(command: Command, words: Sequence[str]) -> tuple[list[str], FlagValues]:
    """Parses the words behind a command.

    Returns:
      Its arguments, and the values of its flags.

    Raises:
      UserError: A flag that the command does not take, a value of the wrong type, or missing arguments.
    """
    taken = (*command.flags, *GLOBAL)
    values = FlagValues()
    values.set_gnu_getopt()
    for flag in taken:
        flag.define(values)
    for word in words:
        if "\0" in word:
            raise UserError(f"the argument '{word}' has a NUL character; remove it")
    try:
        _, *arguments = values(["jaxdl", *map(_underscores, words)])
    except flags.UnrecognizedFlagError as error:
        raise UserError(_refusal(command, error.flagname, error.flagvalue.partition("=")[2])) from None
    except flags.IllegalFlagValueError as error:
        name, value = re.findall(r"flag --(\w+)=(.*?): ", str(error), re.DOTALL)[0]
        flag = next(flag for flag in taken if flag.name == name)
        raise UserError(f"--{name}={value} is not {flag.expected}; write {flag}") from None
    except (flags.Error, ValueError) as error:  # absl raises ValueError for --noNAME=VALUE
        raise UserError(f"{' '.join(str(error).split())}; jaxdl {command.name} --help describes it") from None
    if "" in arguments:  # as a path it would be the working folder
        raise UserError(f"an argument is empty; usage: {command.usage}")
    arguments = [os.path.expanduser(argument) for argument in arguments]
    for flag in taken:
        if values[flag.name].present and values[flag.name].value in ("", [""]):
            raise UserError(f"--{flag.name}= is empty; write {flag}, or drop it")
        if flag.is_path and isinstance(path := values[flag.name].value, str):
            if (command.name, flag.name) != ("train", "workdir"):
                refuse_url(path, f"--{flag.name}=")
            values[flag.name].value = os.path.expanduser(path)
        if flag.choices and values[flag.name].value not in (None, *flag.choices):
            value = str(values[flag.name].value)
            raise UserError(f"--{flag.name}={value} is unknown; {nearest(value, flag.choices)}")
    _check(command, arguments, {flag.name for flag in taken if values[flag.name].present})
    return arguments, values


def _underscores(word: str) -> str:
    """Spells --dry-run as --dry_run."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def _check(command: Command, arguments: list[str], given: set[str]) -> None:
    """Refuses arguments and flags that fit none of the command's forms."""
    forms = list(command.forms())
    complete = [form for form in forms if form.names <= given]
    if not complete:
        missing = next(flag for flag in forms[0].flags if Form((), (flag,)).names.isdisjoint(given))
        raise UserError(f"{missing} is missing; usage: {command.usage}")
    specific = [form for form in complete if not any(form.names < other.names for other in complete)]
    if len(specific) > 1:
        names = [f"--{name}" for form in specific for name in sorted(form.names)]
        raise UserError(f"{_listing(names)} exclude each other; usage: {command.usage}")
    if problem := specific[0].mismatch(arguments):
        raise UserError(f"{problem}; usage: {command.usage}")


def _refusal(command: Command, name: str, value: str) -> str:
    """Returns the message for a flag that a command does not take, with the spelling that was probably meant."""
    taken = {flag.name: flag for flag in (*command.flags, *GLOBAL)}
    problem = f"{command.name} does not take --{name}"
    known = [flag for flag in _all_flags() if flag.name == name]
    meant = [spelling for flag in known for spelling in flag.instead]
    arguments = {word.strip("[].") for form in command.forms() for word in form.arguments}
    for other in meant:
        if other in arguments:
            return f"{problem}; give {other} as an argument: {command.usage}"
        if other.partition("=")[0] in taken:
            return f"{problem}; use --{other}={value or taken[other.partition('=')[0]].value.rpartition('=')[2]}"
    if known:
        takers = [other.name for other in commands().values() if any(flag.name == name for flag in other.flags)]
        return f"{problem}; {_listing(takers)} {'does' if len(takers) == 1 else 'do'}"
    if match := difflib.get_close_matches(name, taken, n=1, cutoff=_CLOSE):
        return f"{problem}; did you mean --{match[0]}?"
    if "set" in taken and value:
        return f"{problem}; use --set={name}={value}"
    if match := difflib.get_close_matches(name, [flag.name for flag in _all_flags()], n=1, cutoff=_CLOSE):
        return _refusal(command, match[0], value)
    return f"{problem}; jaxdl {command.name} --help lists its flags"


def _all_flags() -> list[Flag]:
    return [*GLOBAL, *(flag for command in commands().values() for flag in command.flags)]


def _listing(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _overview() -> str:
    """Returns the text of `jaxdl --help`."""
    lines = _columns([(command.name, command.summary) for command in commands().values()])
    return _OVERVIEW.format(commands="\n".join(lines))


def help_text(command: Command) -> str:
    """Returns the text of `jaxdl COMMAND --help`."""
    forms = [f"jaxdl {command.name} {line}".rstrip() for line in command.synopsis]
    width = max(len(str(flag)) for flag in (*command.flags, *GLOBAL))
    own = ["", "flags:", *_columns([(str(flag), flag.help) for flag in command.flags], width)]
    return "\n".join(
        [
            f"{command.summary}.",
            "",
            f"usage: {forms[0]}",
            *(f"       {form}" for form in forms[1:]),
            *(own if command.flags else ()),
            "",
            "flags of every command:",
            *_columns([(str(flag), flag.help) for flag in GLOBAL], width),
            "",
            "example:",
            f"  {command.example}",
        ]
    )


def _columns(rows: Sequence[tuple[str, str]], width: int = 0) -> list[str]:
    """Returns rows of a name and a wrapped text."""
    width = max([width, *(len(name) for name, _ in rows)])
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(40, _WIDTH - width - 4), break_on_hyphens=False)
        lines += [f"  {head:<{width}}  {part}" for head, part in zip([name, *[""] * len(wrapped)], wrapped)]
    return lines
