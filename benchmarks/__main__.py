"""All comparisons with peer libraries, as one table.

  python -m benchmarks [--only=CNN,ctc] [--rounds=3] [--outcomes=FILE]

Each workload runs in a separate process; the contestants alternate in it. A ratio above 1 means that jaxdl is faster
than the best peer. Workloads whose peer is not installed are skipped. Use a quiet machine: with other load PyTorch's
threads wait for each other. Below the table: the geometric mean of the ratios, the machine, and the speed of a matrix
product. With --outcomes the table also has the rows of earlier calls with the same file, so that it can be measured in
parts.
"""

import argparse
import datetime
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.contest import RECORD, Outcome
from jaxdl.distributed.hardware import matrix_gflops
from jaxdl.runs.environment import configure
from jaxdl.runs.manifest import describe_devices
from jaxdl.runs.table import aligned

PACKAGES = ("jax", "torch", "transformers", "diffusers")
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
    Workload("CNN", ("vs_torch", "--config=experiments/cnn/scenes_segmentation.py", "--batch=16", "--steps=4")),
    Workload("CNN", ("vs_torch", "--config=experiments/cnn/scenes_detection.py", "--batch=16")),
    Workload("Transformer", ("vs_torch", "--config=experiments/transformer/fashion_vit.py", "--steps=4")),
    Workload("Transformer", ("transformer_vs_torch",), ("torch", "transformers")),
    Workload("RNN", ("rnn_vs_torch",)),
    Workload("RNN", ("ctc_vs_torch",)),
    Workload("Diffusion", ("diffusion_vs_diffusers", "--sampling=5"), ("torch", "diffusers")),
    Workload("GAN", ("gan_vs_torch",)),
    Workload("Autoencoder", ("vae_vs_torch",)),
    Workload("data", ("pipeline", "--steps=8")),
    Workload("engine", ("checkpoint_vs_torch",)),
    Workload("engine", ("startup_vs_torch",)),
)


def run(workload: Workload, rounds: int, path: Path) -> None:
    """Runs a workload in a separate process and appends its outcomes with their family to `path`."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "outcomes"
        module, *arguments = workload.arguments
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, f"--rounds={rounds}"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, RECORD: str(record)}, check=True, stdout=sys.stderr)
        with path.open("a") as file:
            for line in record.read_text().splitlines():
                file.write(json.dumps({"family": workload.family, **json.loads(line)}) + "\n")


def table(path: Path) -> str:
    """Returns the table of the outcomes in `path`, and the geometric mean of their ratios."""
    rows, ratios = [("family", "workload", "jaxdl", "best peer", "", "ratio")], []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        family, outcome = fields.pop("family"), Outcome(**fields)
        rates = f"{outcome.ours:.1f} {outcome.unit}", f"{outcome.theirs:.1f}"
        rows.append((family, outcome.workload, *rates, outcome.peer, f"{outcome.ratio:.2f}"))
        ratios.append(outcome.ratio)
    mean = statistics.geometric_mean(ratios) if ratios else math.nan
    return f"{aligned(rows)}\n\ngeometric mean of {len(ratios)} ratios: {mean:.2f}"


def machine() -> str:
    """Returns processor, number of cores, versions and date."""
    installed = [f"{name} {version(name)}" for name in PACKAGES if importlib.util.find_spec(name)]
    devices = describe_devices()
    return f"{devices['kind']} ({devices['cpu_cores']} cores), {', '.join(installed)}, {datetime.date.today()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of families, modules or recipes; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per contestant")
    parser.add_argument("--outcomes", type=Path, help="file with outcomes, to which those of this call are appended")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    workloads = [w for w in WORKLOADS if any(part in " ".join((w.family, *w.arguments)) for part in parts)]
    if not workloads:
        raise SystemExit(
            f"--only={arguments.only} matches none of {', '.join(' '.join(w.arguments) for w in WORKLOADS)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.outcomes or Path(folder) / "outcomes"
        path.touch()
        for workload in workloads:
            if missing := [name for name in workload.needs if importlib.util.find_spec(name) is None]:
                print(f"{' '.join(workload.arguments)}: skipped, needs {', '.join(missing)}: pip install -e '.[peer]'")
                continue
            run(workload, arguments.rounds, path)
        print(table(path))
    configure()
    print(f"{machine()}; matrix product {matrix_gflops() or math.nan:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
