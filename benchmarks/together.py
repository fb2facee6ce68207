"""Runs trained together against the same runs one after the other: wall time and differences.

  python -m benchmarks.together [--runs=8] [--steps=200] [RECIPE ...]

Both are sweeps over seeds in a new folder, with one run at a time. The ratio is the time of single runs divided by that
of `--together`, start-up and compilation included; above 1, training together is faster. The difference is the largest
relative one of a training loss or evaluation metric; equal digests of the final states mean equal bits.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxdl.distributed.hardware import matrix_gflops
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.places import find_runs
from jaxdl.runs.table import aligned
from jaxdl.training.meters import CLOCKED

ROOT = Path(__file__).resolve().parent.parent
RECIPES = (
    "experiments/cnn/digits.py",
    "experiments/rnn/adding_problem.py",
    "experiments/autoencoder/credit_anomaly.py",
)


def sweep(recipe: str, runs: int, steps: int, folder: Path, *flags: str) -> float:
    """Trains the seeds of a recipe and returns the wall time, seconds."""
    command = [sys.executable, "launch.py", "sweep", f"--config={recipe}", f"--grid=seed=0..{runs - 1}", "--slots=1"]
    settings = [f"--set={name}={steps}" for name in ("steps", "eval_every", "save_every")]
    start = time.perf_counter()
    subprocess.run([*command, *settings, f"--workdir={folder}", *flags], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def difference(single: Path, joint: Path) -> tuple[float, bool]:
    """Returns the largest relative difference of a metric of two runs, and whether their final states are equal."""
    largest = 0.0
    folders = RunFolder.open(single), RunFolder.open(joint)
    for row, other in zip(*(folder.rows() for folder in folders), strict=True):
        for name in set(row) - CLOCKED - {"step", "split"}:
            largest = max(largest, abs(row[name] - other[name]) / max(abs(row[name]), 1e-6))
    digests = [(folder.result() or {}).get("state_digest") for folder in folders]
    return largest, digests[0] == digests[1]


def measure(recipe: str, runs: int, steps: int) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        single, joint = Path(scratch) / "single", Path(scratch) / "joint"
        seconds = sweep(recipe, runs, steps, single), sweep(recipe, runs, steps, joint, f"--together={runs}")
        pairs = [difference(path, joint / path.name) for path in find_runs(single)]
        how = RunFolder.open(find_runs(joint)[0]).manifest()["together"]["mode"]
    largest, equal = max(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    times = [f"{value:.1f}" for value in (*seconds, seconds[0] / seconds[1])]
    return [recipe, how, *times, f"{largest:.1e}", f"{equal} of {len(pairs)}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    arguments = parser.parse_args()
    rows = [measure(recipe, arguments.runs, arguments.steps) for recipe in arguments.recipes]
    print(aligned([["recipe", "mode", "single s", "together s", "ratio", "difference", "equal states"], *rows]))
    print(f"{arguments.runs} runs of {arguments.steps} steps; matrix product {matrix_gflops():.0f} GFLOP/s")


if __name__ == "__main__":
    main()
