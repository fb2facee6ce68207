"""Start-up: import of jaxdl, commands, and the first step of a run with a cold and a warm compile cache.

  python -m benchmarks.startup [--config=experiments/cnn/digits.py] [--rounds=3]

Every measurement is a separate process. The first step counts from the start of the process to the first line of
metrics.jsonl; the data set must be prepared. CPU seconds include child processes.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from jaxdl.runs.table import print_table

ROOT = Path(__file__).resolve().parent.parent


def measure(
    arguments: list[str], done: Callable[[], bool] = lambda: False, cache: Path | None = None
) -> tuple[float, float]:
    """Returns wall and CPU seconds of a Python process until it ends or `done` returns True, which ends it."""
    environment = {**os.environ, **({} if cache is None else {"JAX_COMPILATION_CACHE_DIR": str(cache)})}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended or done():
            break
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    if not ended:
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if ended and process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return seconds, usage.ru_utime + usage.ru_stime


def first_step_seconds(config: str, workdir: Path, cache: Path) -> tuple[float, float]:
    """Returns wall and CPU seconds of a training run until its first step is reported."""
    metrics = workdir / "metrics.jsonl"
    command = ["launch.py", f"--config={config}", f"--workdir={workdir}", "--set=log_every=1"]
    return measure(command, lambda: metrics.exists() and metrics.stat().st_size > 0, cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", default="experiments/cnn/digits.py")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    seconds = defaultdict(list)
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            seconds["python"].append(measure(["-c", "pass"]))
            seconds["import jaxdl"].append(measure(["-c", "import jaxdl"]))
            seconds["import jax, flax.linen, optax"].append(measure(["-c", "import jax, flax.linen, optax"]))
            for cache in ("cold", "warm"):
                run = first_step_seconds(arguments.config, folder / cache, folder / "cache")
                seconds[f"first step, {cache} cache"].append(run)
            seconds["list"].append(measure(["launch.py", "list"]))
            seconds["show"].append(measure(["launch.py", "show", f"--config={arguments.config}"]))
            report = ["launch.py", "report", str(folder / "warm"), f"--output={folder / 'report.html'}"]
            seconds["report of one run"].append(measure(report))
    medians = {name: map(statistics.median, zip(*pairs)) for name, pairs in seconds.items()}
    rows = [(name, *(f"{value:.2f}" for value in pair)) for name, pair in medians.items()]
    torch = "" if importlib.util.find_spec("torch") else "not "
    print(f"{arguments.config}, medians of {arguments.rounds} rounds, PyTorch {torch}installed")
    print_table(("process", "seconds", "CPU seconds"), rows)


if __name__ == "__main__":
    main()
