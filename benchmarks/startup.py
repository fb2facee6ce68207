"""Time from launch.py to the first step: cold and warm compile cache.

  python -m benchmarks.startup [--config=experiments/cnn/fashion_mnist.py] [--rounds=3]

The data set is prepared beforehand. Each launch is a separate process that takes three steps; the clock runs from the
start of the process to the first line of metrics.jsonl.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def first_step_seconds(config: str, workdir: Path, cache: Path) -> float:
    """Measures seconds from the start of the process to the report of its first step."""
    command = [sys.executable, "launch.py", f"--config={config}", f"--workdir={workdir}", "--set=log_every=1"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    failed = process.poll() not in (None, 0)
    process.kill()
    process.wait()
    if failed:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", default="experiments/cnn/fashion_mnist.py")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cold, warm = [], []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            cold.append(first_step_seconds(arguments.config, Path(folder) / "cold", cache))
            warm.append(first_step_seconds(arguments.config, Path(folder) / "warm", cache))
        print(f"round {number + 1}: cold {cold[-1]:.1f} s, warm {warm[-1]:.1f} s")
    ratio = statistics.median(warm) / statistics.median(cold)
    print(f"warm / cold {ratio:.2f} (medians of {arguments.rounds} rounds)")


if __name__ == "__main__":
    main()
