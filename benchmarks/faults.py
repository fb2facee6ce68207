"""Faults at a chosen file operation of a run: signals (`benchmarks.kills`) and full disks (`benchmarks.full_disks`).

Python reports each file operation to audit hooks before it is carried out, and a hook acts at one of them.
TensorStore's own writes are not reported; they lie between the operations of Orbax, and are reached by a delay.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl.training.meters import CLOCKED

ROOT = Path(__file__).resolve().parent.parent
_WRITES = os.O_WRONLY | os.O_RDWR
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Fault:
    """Fault at the `count`-th file operation on a path that contains `pattern`, a regular expression.

    Attributes:
      pattern: Regular expression that is searched in the absolute path of a write, rename, deletion or new folder.
      count: Number of the operation, from 1.
      delay: Seconds between the operation and the fault.
      signal: Number of a signal. 0: the file system of `fill` becomes full.
      fill: File that takes all free space.
    """

    pattern: str
    count: int = 1
    delay: float = 0.0
    signal: int = 0
    fill: str = ""

    def act(self) -> None:
        if self.signal:
            os.kill(os.getpid(), self.signal)
        else:
            fill(Path(self.fill))


def fill(path: Path) -> None:
    """Writes zeros to a file until no space is left."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def arm(fault: Fault, fired: Path) -> None:
    """Installs the audit hook, which acts once and then creates the file `fired`."""
    seen = 0

    def hook(event: str, values: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            writes = bool((values[2] or 0) & _WRITES)
        else:
            writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if not writes or seen >= fault.count or not isinstance(values[0], (str, os.PathLike)):
            return
        paths = [os.path.abspath(value) for value in values[:2] if isinstance(value, (str, os.PathLike))]
        paths = paths if event == "os.rename" else paths[:1]
        if any(re.search(fault.pattern, path) for path in paths):
            seen += 1
            if seen == fault.count:
                fired.touch()
                threading.Timer(fault.delay, fault.act).start() if fault.delay else fault.act()

    sys.addaudithook(hook)


@dataclass(frozen=True)
class Ended:
    """End of a process: exit code, whether its fault was reached, standard output and error together, seconds."""

    code: int
    fired: bool
    output: str
    seconds: float


def start(arguments: list[str], **options: Any) -> subprocess.Popen:
    """Starts jaxdl as a process of its command line."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
    options.setdefault("preexec_fn", default_signals)
    return subprocess.Popen([sys.executable, "launch.py", *arguments], cwd=ROOT, **options)


def default_signals() -> None:
    """Restores the signals that shells ignore in background jobs."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@functools.cache
def _server() -> Any:
    """Returns the context of processes that are forked from one which has imported the modules of training."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.faults", "jaxdl.commands.train", "orbax.checkpoint"])
    return context


def _work(arguments: list[str], fault: Fault | None, fired: Path, output: Path) -> None:
    from jaxdl.start import launch

    default_signals()
    os.environ["GLIBC_TUNABLES"] = ""  # the command line would restart its process without it
    with output.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    sys.argv = ["launch.py", *arguments]
    if fault is not None:
        arm(fault, fired)
    code = launch()
    sys.stderr.flush()
    os._exit(code)


def fork(arguments: list[str], files: Path, fault: Fault | None = None) -> Any:
    """Starts the command line in a forked process, without the seconds that its imports take.

    Args:
      arguments: Command line.
      files: Prefix of two files: ".fired" exists once the fault was reached, ".output" has the output of the process.
      fault: Fault of the process.
    """
    files.with_suffix(".fired").unlink(missing_ok=True)
    files.with_suffix(".output").unlink(missing_ok=True)
    work = (arguments, fault, files.with_suffix(".fired"), files.with_suffix(".output"))
    process = _server().Process(target=_work, args=work)
    process.start()
    return process


def ended(process: Any, files: Path, begin: float, timeout: float = 300) -> Ended:
    """Waits for a forked process; one that does not end within `timeout` seconds is killed and has code -1000."""
    process.join(timeout)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
        code = -1000
    output = files.with_suffix(".output")
    text = output.read_text() if output.exists() else ""
    return Ended(code, files.with_suffix(".fired").exists(), text, time.monotonic() - begin)


def run(arguments: list[str], files: Path, fault: Fault | None = None, timeout: float = 300) -> Ended:
    """Runs the command line in a forked process; see `fork` and `ended`."""
    begin = time.monotonic()
    return ended(fork(arguments, files, fault), files, begin, timeout)


def rows(workdir: Path) -> list[dict[str, Any]]:
    """Returns the rows of metrics.jsonl without times."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in CLOCKED} for line in lines]


def result(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "result.json").read_text())


def events(workdir: Path) -> list[tuple[int, str]]:
    """Returns (step, tag) of the TensorBoard events that TensorBoard shows, in order, without times.

    A file starts with the step from which the events of earlier files are hidden. An incomplete last record, of a
    killed process, is skipped as in TensorBoard.
    """
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore

    shown: list[tuple[int, str]] = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, position = path.read_bytes(), 0
        while position + 12 <= len(data):
            size = int.from_bytes(data[position : position + 8], "little")
            record = data[position + 12 : position + 12 + size]
            position += size + 16
            if position > len(data):
                break
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                shown = [(step, tag) for step, tag in shown if step < event.step]
            shown += [(event.step, value.tag) for value in event.summary.value]
    return [(step, tag) for step, tag in shown if tag.rpartition("/")[2] not in CLOCKED]


def faults_of(workdir: Path, reference: Path) -> list[str]:
    """Compares a finished run that was interrupted with an undisturbed one.

    Returns:
      Names of the differences: "digest", "metrics", "duplicates", "events", "pictures", "leftovers", "seal",
      "attempts".
    """
    from jaxdl.runs.folder import RunFolder

    folder, found = RunFolder.open(workdir), []
    lines = rows(workdir)
    if result(workdir)["state_digest"] != result(reference)["state_digest"]:
        found.append("digest")
    if lines != rows(reference) or result(workdir)["metrics"] != result(reference)["metrics"]:
        found.append("metrics")
    if len({(row["step"], row["split"]) for row in lines}) != len(lines):
        found.append("duplicates")
    if sorted(events(workdir)) != sorted(events(reference)):
        found.append("events")
    if sorted(os.listdir(workdir / "pictures")) != sorted(os.listdir(reference / "pictures")):
        found.append("pictures")
    if leftovers(workdir, reference):
        found.append("leftovers")
    if folder.problems():
        found.append("seal")
    if any(attempt["end"] is None for attempt in folder.manifest()["attempts"]):
        found.append("attempts")
    return found


def leftovers(workdir: Path, reference: Path) -> list[str]:
    """Returns the paths of a finished run that the undisturbed one does not have, without event files and logs.

    A signal saves a checkpoint of its step, which may be among the newest that are kept.
    """
    ignored = re.compile(r"^tensorboard/|^background\.log$|^checkpoints/\d+(?!.*tmp)(/|$)")
    listed = [{str(path.relative_to(top)) for path in top.rglob("*")} for top in (workdir, reference)]
    held = [".lock is not empty"] if (workdir / ".lock").read_text() else []
    return held + sorted(path for path in listed[0] - listed[1] if not ignored.search(path))
