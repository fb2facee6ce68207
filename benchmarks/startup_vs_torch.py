"""Time from launch to the first step of the digits classifier, against a minimal PyTorch script.

  python -m benchmarks.startup_vs_torch [--rounds=3]

jaxdl has a warm compile cache and starts as in `benchmarks.startup`; its clock stops at the first line of
metrics.jsonl. The peer, `benchmarks.torch_digits`, imports torch, reads the digits and takes an eager step; its clock
stops when it prints the loss. Needs the peer extra.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.contest import Repeated, measure, report
from benchmarks.startup import ROOT, first_step_seconds

CONFIG = "experiments/cnn/digits.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        values, label = load_digits(return_X_y=True)
        np.savez(folder / "digits.npz", image=(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), label=label)

        def ours() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as workdir:
                first_step_seconds(CONFIG, Path(workdir), cache)

        def theirs() -> None:
            command = [sys.executable, "-m", "benchmarks.torch_digits", str(folder / "digits.npz")]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise SystemExit(f"{' '.join(command)} failed")
                process.kill()

        contestants = {"jaxdl": Repeated(ours), "PyTorch eager": Repeated(theirs)}
        report("start to first step", measure(contestants, 60, 1, arguments.rounds), 60, "starts/min")


if __name__ == "__main__":
    main()
