"""All comparisons with peer libraries, as one table.

  python -m benchmarks [--only=LSTM,GPT] [--rounds=3]

Each workload runs in a separate process; the contestants alternate in it. A ratio above 1 means that jaxdl is faster
than the best peer. Workloads whose peer is not installed are skipped. Use a quiet machine: with other load PyTorch's
threads wait for each other. The last line is the geometric mean.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.contest import RECORD, Outcome
from jaxdl.runs.environment import configure
from jaxdl.runs.table import aligned

ROOT = Path(__file__).resolve().parent.parent


class Workload(NamedTuple):
    """Benchmark of one family.

    Attributes:
      family: Family of models.
      arguments: Module below `benchmarks` and its arguments.
      needs: Packages of the peer.
    """

    family: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ("torch",)


WORKLOADS = (
    Workload("CNN", ("vs_torch", "--config=experiments/cnn/fashion_mnist.py", "--batch=128")),
    Workload("CNN", ("vs_torch", "--config=experiments/cnn/scenes_segmentation.py", "--batch=16")),
    Workload("CNN", ("vs_torch", "--config=experiments/cnn/scenes_detection.py", "--batch=16")),
    Workload("RNN", ("rnn_vs_torch",)),
    Workload("Diffusion", ("diffusion_vs_diffusers",), ("torch", "diffusers")),
    Workload("Transformer", ("transformer_vs_torch",), ("torch", "transformers")),
)


def run(workload: Workload, rounds: int) -> list[Outcome]:
    """Runs a workload in a separate process and returns its outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcomes"
        module, *arguments = workload.arguments
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, f"--rounds={rounds}"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, RECORD: str(path)}, check=True, stdout=sys.stderr)
        return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]


def gflops(size: int = 2048, rounds: int = 7) -> float:
    """Measures GFLOP/s of a float32 matrix product, the best of `rounds`."""
    configure()
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2e-9 * size**3 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families, comma-separated; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per contestant")
    arguments = parser.parse_args()
    families = {workload.family for workload in WORKLOADS}
    only = set(filter(None, arguments.only.split(","))) or families
    if unknown := only - families:
        raise SystemExit(f"--only: no family {', '.join(sorted(unknown))}; families: {', '.join(sorted(families))}")
    rows, ratios = [("family", "workload", "jaxdl", "best peer", "", "ratio")], []
    for workload in WORKLOADS:
        missing = [name for name in workload.needs if importlib.util.find_spec(name) is None]
        if workload.family not in only:
            continue
        if missing:
            print(f"{' '.join(workload.arguments)}: skipped, needs {', '.join(missing)}: pip install -e '.[peer]'")
            continue
        for outcome in run(workload, arguments.rounds):
            rates = f"{outcome.ours:.1f} {outcome.unit}", f"{outcome.theirs:.1f}"
            rows.append((workload.family, outcome.workload, *rates, outcome.peer, f"{outcome.ratio:.2f}"))
            ratios.append(outcome.ratio)
    print(aligned(rows))
    if ratios:
        print(f"geometric mean {statistics.geometric_mean(ratios):.2f}; matrix product {gflops():.0f} GFLOP/s")


if __name__ == "__main__":
    main()
