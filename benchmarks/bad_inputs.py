"""Refusals of bad inputs: command lines that must end with exit code 2 and one line.

  python -m benchmarks.bad_inputs [--keep=DIR] [--only=WORD] [--verbose]

benchmarks/bad_inputs.txt lists the command lines. They run in this process, on runs of nine recipes at test size that
are trained first, and on damaged, empty, foreign and special files. Those with environment variables, devices or
processes run in a process each. Printed are the counts of each command, and each command line that does not exit with
2, prints another line than its error, prints something on standard output, changes a file, or exceeds the time limit.
"""

import argparse
import collections
import contextlib
import os
import resource
import shlex
import signal
import string
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import bad_input_files
from jaxdl.commands.cli import commands
from jaxdl.commands.cli import main as jaxdl

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_suffix(".txt")
LIMIT = 30  # seconds per command line
START = 150  # further seconds for the start of a process on a busy machine
MEMORY = 6 * 2**30  # bytes that a command line may allocate
SPECIAL = {"<LF>": "\n", "<CR>": "\r", "<TAB>": "\t", "<NUL>": "\0", "<ESC>": "\x1b", "<BAD>": "\udcff"}
_PROCESS = ("--process", "--coordinator", "--cpu_devices")
_ANNOUNCED = (
    "preparing ",
    "prepared ",
    "Downloading and preparing ",
    "Dataset ",
)  # lines before the error that announce a long operation


class Case(NamedTuple):
    """Command line of the table, with its environment."""

    text: str
    words: list[str]
    environment: dict[str, str]

    @property
    def command(self) -> str:
        return next((word for word in self.words if word in commands()), "train")

    @property
    def separate(self) -> bool:
        """Whether it runs in a separate process."""
        return bool(self.environment) or any(word.startswith(_PROCESS) for word in self.words)


class Outcome(NamedTuple):
    """Exit code, output and seconds of a command line; the code is None after an exception."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def fault(self) -> str:
        """Returns the difference from one line and exit code 2, "" without one."""
        lines = [line for line in self.err.splitlines() if not line.startswith(_ANNOUNCED)]
        if self.code != 2:
            return f"exit code {self.code}"
        if len(lines) != 1 or not lines[0].startswith("error: "):
            return f"{len(lines)} lines"
        if self.out:
            return "standard output"
        if "bad_input" in self.err:
            return "blamed on this file"
        return "control character" if any(not sign.isprintable() for sign in lines[0]) else ""


class Victims:
    """Files of the user that no command may change, with their content."""

    def __init__(self, folder: Path):
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        self._contents = {path: path.read_bytes() for path in paths if path.stat().st_size < 2**20}

    def restore(self) -> str:
        """Returns the name of a file that was changed, "" if there is none, and restores the files."""
        known = self._contents.items()
        changed = [path for path, content in known if not path.is_file() or path.read_bytes() != content]
        for path in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._contents[path])
        return ", ".join(path.name for path in changed)


class TooLong(BaseException):
    """A command line took longer than the limit."""


def cases(names: dict[str, str]) -> Iterator[Case]:
    """Yields the command lines of the table with the names of the runs and files."""
    for line in TABLE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        words = [string.Template(word).safe_substitute(names) for word in shlex.split(line)]
        for name, sign in SPECIAL.items():
            words = [word.replace(name, sign) for word in words]
        count = next((n for n, word in enumerate(words) if not word.partition("=")[0].isupper()), len(words))
        environment = {name: value for name, _, value in (word.partition("=") for word in words[:count])}
        yield Case(line, words[count:], environment)


def run(case: Case) -> Outcome:
    """Runs a command line, in this process if possible."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _process(case, out, err) if case.separate else _call(case, out, err)
        texts = [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, err)]
    return Outcome(code, texts[0], texts[1], time.perf_counter() - start)


def _process(case: Case, out, err) -> int | None:
    command = [sys.executable, "launch.py", *case.words]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **case.environment}, stdin=subprocess.DEVNULL, stdout=out, stderr=err
    )
    try:
        return process.wait(LIMIT + START)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def _call(case: Case, out, err) -> int | None:
    with _descriptors(out, err):
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, LIMIT, 5)  # again if the exception is caught
        try:
            with warnings.catch_warnings():  # each command line warns as in a separate process
                return jaxdl(case.words)
        except (Exception, TooLong, SystemExit):
            traceback.print_exc()
            return None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(number: int, frame: object) -> None:
    raise TooLong


@contextlib.contextmanager
def _descriptors(out, err) -> Iterator[None]:
    """Directs standard output and standard error of this process, C++ libraries included, to files."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keep", default=None, help="folder for the runs and files, which is kept")
    parser.add_argument("--only", default="", help="run the lines that contain this text")
    parser.add_argument("--verbose", action="store_true", help="print each command line with its error")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with contextlib.ExitStack() as stack:
        folder = Path(arguments.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ.setdefault("JAXDL_DATA", str(folder / "data"))
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")  # with the store of trusted code
        names = bad_input_files.make(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
        victims = Victims(folder)
        good, total = collections.Counter[str](), collections.Counter[str]()
        slowest = 0.0
        for case in cases(names):
            if arguments.only not in case.text:
                continue
            outcome = run(case)
            changed = victims.restore()
            fault = f"changed {changed}" if changed else outcome.fault
            total[case.command] += 1
            good[case.command] += not fault
            slowest = max(slowest, outcome.seconds)
            if fault or arguments.verbose:
                print(f"{fault or 'ok'} ({outcome.seconds:.1f} s): jaxdl {case.text}")
                texts = "\n".join(filter(None, (outcome.out, outcome.err))).replace(str(folder), "$folder")
                lines = texts.splitlines()
                print("".join(f"    {line[:300]}\n" for line in lines[:2] + lines[2:][-3:]), end="", flush=True)
    for command in commands():
        print(f"{command:10} {good[command]:4} of {total[command]:4}")
    print(f"{'all':10} {good.total():4} of {total.total():4}, the slowest in {slowest:.1f} s")


if __name__ == "__main__":
    main()
