"""Kills of a short run, resumed until it is finished and compared with an undisturbed run.

  python -m benchmarks.kills [--random=100] [--targeted=50] [--seed=0] [--jobs=2] [--keep=DIR]

Random: SIGKILL, SIGTERM, SIGINT or SIGHUP, at a uniform time after the start of the process or after it has opened its
run folder. Targeted: at a chosen file operation (`benchmarks.faults`), with a delay for some of those that write arrays
or precede an evaluation. Each run is killed up to four times; its processes are forked from one that has imported JAX,
except for kills after the start. Streams: standard output or error closed, full, or a terminal that disappears.

The finished run must have the state digest, the metrics and the TensorBoard events of the undisturbed one, each row
once, and no other files. "lines": a process that was stopped by a signal prints one line "stopped:" and exits with 75.
"""

import argparse
import concurrent.futures
import dataclasses
import fcntl
import os
import pty
import random
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults import SIGNALS, Ended, Fault, default_signals, ended, faults_of, fork, run, start

RUN = [
    "--config=experiments/cnn/digits.py",
    "--set=task.model.channels=(8, 16)",
    "--set=data.batch_size=16",
    "--set=steps=30",
    "--set=eval_every=10",
    "--set=save_every=5",
    "--set=log_every=1",
    "--set=select=best",
]
# Kind: pattern of the path, number of operations on it in a run, longest delay.
TARGETS = {
    "config": (r"/\.?config\.(json|txt)", 4, 0),
    "manifest": (r"/\.?manifest\.json", 6, 0),
    "seal": (r"/\.?seal\.json", 12, 0),
    "lock": (r"/\.lock", 1, 0),
    "metrics row": (r"/metrics\.jsonl", 30, 0),
    "tensorboard": (r"/tensorboard", 2, 0.02),
    "evaluation": (r"/metrics\.jsonl", 3, 0.3),
    "picture": (r"/pictures", 14, 0),
    "save": (r"/checkpoints/\d+", 200, 0.05),
    "last commit": (r"/checkpoints/30\b", 46, 0.05),
    "result": (r"/\.?result\.json", 3, 0),
}
CHAIN = 4  # kills per run


@dataclass
class Kill:
    """Kill of one process: by a fault at a file operation, or by a signal from outside after `delay` seconds."""

    kind: str
    number: signal.Signals
    fault: Fault | None = None
    delay: float = 0.0
    from_lock: bool = False
    fresh: bool = False  # only the first process of a run reaches it
    ended: Ended | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def line(self) -> bool:
        """Whether the process ended as it should."""
        assert self.ended is not None
        stopped = self.ended.output.count("stopped: ") == 1 and self.ended.code == 75
        expected = self.ended.code == -9 if self.number == signal.SIGKILL else stopped or self.ended.code == 0
        return expected and "Traceback" not in self.ended.output


def random_kills(count: int, chance: random.Random, seconds: float) -> Iterator[Kill]:
    numbers = (signal.SIGKILL, *SIGNALS)
    for index in range(count):
        inside = bool(index % 4)
        delay = chance.uniform(0, seconds)
        yield Kill("random, run" if inside else "random, start", numbers[index // 4 % 4], None, delay, inside)


def targeted_kills(count: int, chance: random.Random) -> Iterator[Kill]:
    kinds = list(TARGETS)
    for index in range(count):
        kind = kinds[index % len(kinds)]
        pattern, operations, longest = TARGETS[kind]
        number = (signal.SIGKILL, *SIGNALS)[index // len(kinds) % 4]
        operation = chance.randint(1, operations) * (10 if kind == "evaluation" else 1)
        delay = chance.uniform(0, longest) if kind == "evaluation" or (longest and chance.random() < 0.5) else 0.0
        yield Kill(kind, number, Fault(pattern, operation, delay, number), fresh=kind in ("evaluation", "config"))


def killed(kill: Kill | None, workdir: Path) -> Ended:
    """Runs a process of the run in `workdir` with a kill."""
    arguments, begin = [*RUN, f"--workdir={workdir}"], time.monotonic()
    if kill is None or kill.fault is not None:
        return run(arguments, workdir, None if kill is None else kill.fault)
    if not kill.from_lock:  # the imports are part of the start
        process = start(arguments)
        time.sleep(kill.delay)
        reached = process.poll() is None
        process.send_signal(kill.number)
        output, _ = process.communicate(timeout=300)
        return Ended(process.returncode, reached, output, time.monotonic() - begin)
    forked, lock = fork(arguments, workdir), workdir / ".lock"
    while forked.is_alive() and not (lock.exists() and str(forked.pid) in lock.read_text()):
        time.sleep(0.005)
    time.sleep(kill.delay)
    reached = forked.is_alive()
    if reached:
        os.kill(forked.pid, kill.number)
    return dataclasses.replace(ended(forked, workdir, begin), fired=reached)


class Campaign:
    """Kills that are shared by concurrent runs."""

    def __init__(self, kills: list[Kill], reference: Path, root: Path):
        self.waiting, self.done = deque(kills), list[Kill]()
        self.reference, self.root = reference, root
        self.lock = threading.Lock()
        self.runs = 0

    def take(self, first: bool) -> Kill | None:
        with self.lock:
            for kill in list(self.waiting):
                if first or not kill.fresh:
                    self.waiting.remove(kill)
                    return kill
        return None

    def work(self) -> None:
        while self.waiting:
            with self.lock:
                self.runs += 1
                workdir = self.root / f"run{self.runs}"
            self.finish(workdir)

    def finish(self, workdir: Path) -> None:
        """Kills and resumes a run until it is finished."""
        kills: list[Kill] = []
        while True:
            kill = self.take(first=not kills) if len(kills) < CHAIN else None
            end = killed(kill, workdir)
            if kill is not None and end.fired:
                kill.ended = end
                kills.append(kill)
            elif kill is not None:
                kill.delay *= 0.9
                if kill.fault is not None:  # the run has fewer operations of this kind
                    kill.fault = dataclasses.replace(kill.fault, count=max(1, kill.fault.count * 3 // 4))
                with self.lock:
                    self.waiting.append(kill)
            if end.code == 0 or kill is None:
                break
        faults = faults_of(workdir, self.reference) if (workdir / "result.json").exists() else [f"exit {end.code}"]
        for kill in kills:
            kill.faults = faults
        with self.lock:
            self.done += kills
            for kill in kills:
                assert kill.ended is not None
                bad = ", ".join([*kill.faults, *([] if kill.line else ["line"])])
                place = f"operation {kill.fault.count}, " if kill.fault is not None else ""
                delay = kill.delay if kill.fault is None else kill.fault.delay
                print(
                    f"{workdir.name}: {kill.kind}, {place}{delay:.3f} s, {kill.number.name}: {bad or 'equal'}",
                    flush=True,
                )
                if bad:
                    print(f"  exit {kill.ended.code}: {kill.ended.output[-2000:]}", flush=True)
        if not faults:
            shutil.rmtree(workdir)


def print_kills(kills: list[Kill]) -> None:
    heads = ("kind", "kills", "KILL", "TERM", "INT", "HUP", "equal", "duplicates", "leftovers", "other faults", "lines")
    print(" | ".join(heads))
    for kind in [*dict.fromkeys(kill.kind for kill in kills), "all"]:
        group = [kill for kill in kills if kind in (kill.kind, "all")]
        numbers = Counter(kill.number for kill in group)
        others = Counter(name for kill in group for name in kill.faults)
        equal = sum("digest" not in kill.faults and "metrics" not in kill.faults for kill in group)
        known = {"digest", "metrics", "duplicates", "leftovers"}
        cells = [kind, len(group), *(numbers[number] for number in (signal.SIGKILL, *SIGNALS))]
        cells += [equal, others["duplicates"] + others["events"], others["leftovers"]]
        cells += [sum(others[name] for name in others.keys() - known - {"events"}), sum(kill.line for kill in group)]
        print(" | ".join(map(str, cells)))


def _terminal(ignore: bool) -> tuple[int, dict[str, Any]]:
    """Returns the other end of a new terminal, and the options of a process that it controls."""
    master, slave = pty.openpty()

    def control() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        default_signals()
        if ignore:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    options = {"stdin": slave, "stdout": slave, "start_new_session": True, "preexec_fn": control}
    return master, options


def streams(root: Path, reference: Path) -> None:
    """Prints the exit codes and faults of runs whose standard streams fail."""
    print("stream | exit | faults | standard error")

    def ends(process: subprocess.Popen) -> None:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()

    def closes(*numbers: int) -> dict[str, Any]:
        return {"preexec_fn": lambda: [os.close(number) for number in numbers]}

    log = root / "stderr"
    full, null = os.open("/dev/full", os.O_WRONLY), subprocess.DEVNULL
    cases: dict[str, tuple[dict[str, Any], Callable[[subprocess.Popen], None]]] = {
        "| head -1": ({"stderr": open(log, "w")}, ends),  # noqa: SIM115  (closed at exit)
        ">&-": ({"stdout": null, "stderr": open(log, "w"), **closes(1)}, lambda _: None),  # noqa: SIM115
        "2>&-": ({"stdout": null, "stderr": null, **closes(2)}, lambda _: None),
        "<&- >&- 2>&-": ({"stdout": null, "stderr": null, **closes(0, 1, 2)}, lambda _: None),
        ">/dev/full": ({"stdout": full, "stderr": open(log, "w")}, lambda _: None),  # noqa: SIM115
        ">/dev/full 2>&1": ({"stdout": full, "stderr": full}, lambda _: None),
    }
    for ignore in (False, True):
        master, options = _terminal(ignore)

        def leaves(process: subprocess.Popen, master: int = master, number: int = len(cases)) -> None:
            while not (root / f"stream{number}" / "metrics.jsonl").exists():
                os.read(master, 2**16)
            os.close(master)

        options["stderr"] = open(log, "w")  # noqa: SIM115
        cases[f"terminal gone{', nohup' if ignore else ''}"] = (options, leaves)
    for number, (name, (options, meet)) in enumerate(cases.items()):
        workdir = root / f"stream{number}"
        log.write_text("")
        process = start([*RUN, f"--workdir={workdir}"], **options)
        meet(process)
        code = process.wait(timeout=300)
        if code == 75:
            run([*RUN, f"--workdir={workdir}"], workdir)
        faults = faults_of(workdir, reference) if (workdir / "result.json").exists() else ["not finished"]
        print(f"{name} | {code} | {', '.join(faults) or 'none'} | {log.read_text().strip()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--targeted", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", help="folder of runs that are not equal to the undisturbed one")
    arguments = parser.parse_args()
    root = Path(arguments.keep or tempfile.mkdtemp(prefix="kills-")).absolute()
    root.mkdir(parents=True, exist_ok=True)
    reference = root / "undisturbed"
    run([*RUN, f"--workdir={root / 'first'}"], root / "first")  # prepares the data and fills the compile cache
    end = run([*RUN, f"--workdir={reference}"], reference)
    if end.code:
        raise SystemExit(end.output)
    print(f"undisturbed run: {end.seconds:.1f} s, with {arguments.jobs} processes at a time", flush=True)
    chance = random.Random(arguments.seed)
    kills = [*random_kills(arguments.random, chance, end.seconds)]
    kills += targeted_kills(arguments.targeted, chance)
    chance.shuffle(kills)
    campaign = Campaign(kills, reference, root)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for work in [pool.submit(campaign.work) for _ in range(arguments.jobs)]:
            work.result()
    print_kills(sorted(campaign.done, key=lambda kill: (kill.kind not in TARGETS, kill.kind)))
    streams(root, reference)


if __name__ == "__main__":
    main()
