"""Bitwise kill and resume of one full-size recipe of each family.

  python -m benchmarks.full_size_resume [--only=GAN,rnn] [--outcomes=FILE] [--keep=DIR]

Each recipe takes 6 steps with its own model and batch, on the devices that JAX finds: once undisturbed, and once killed
by SIGKILL when the checkpoint of step 3 is on the disk and resumed by a new process. The resumed run must equal the
undisturbed one in everything that `benchmarks.faults.faults_of` compares. Only the evaluation is smaller than the
recipe's, and an FID classifier is random. With --outcomes, finished rows are read from FILE and not repeated.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.faults import faults_of, result, start
from jaxdl.config import resolve
from jaxdl.runs.environment import configure
from jaxdl.runs.table import aligned

STEPS, KILL = 6, 3
_IMAGES = ("data.test=None", "data.evals.validation.split=train[55000:55500]")
_TEXT = ("data.test=None", "data.evals.validation.corpus.split=validation[:1]")
RECIPES = {
    "CNN": ("experiments/cnn/fashion_mnist.py", _IMAGES),
    "RNN": ("experiments/rnn/austen_chars.py", _TEXT),
    "Autoencoder": ("experiments/autoencoder/fashion_vae.py", ("start=None", *_IMAGES)),
    "GAN": ("experiments/gan/fashion_dcgan.py", ("start=None", *_IMAGES)),
    "Diffusion": ("experiments/diffusion/fashion_edm.py", ("start=None", *_IMAGES)),
    "Transformer": ("experiments/transformer/austen_gpt.py", _TEXT),
}
_NAMES = ("family", "recipe", "parameters", "batch", "digest", "resumed", "from step", "differences", "CPU s")


def train(recipe: str, settings: tuple[str, ...], workdir: Path, kill: int | None = None) -> str:
    """Trains in a process of the command line and returns its output.

    Args:
      recipe: Recipe.
      settings: NAME=VALUE overrides.
      workdir: Run folder.
      kill: Step whose checkpoint the process is killed after. None: it ends by itself.
    """
    arguments = [f"--config={recipe}", f"--workdir={workdir}", *(f"--set={setting}" for setting in settings)]
    log = workdir.with_suffix(".log")
    with log.open("w") as file:
        process = start(arguments, stdout=file, stderr=subprocess.STDOUT)
        while kill is not None and process.poll() is None:
            if (workdir / "checkpoints" / str(kill)).is_dir():
                process.kill()
                break
            time.sleep(0.002)
        code = process.wait()
    if code != (0 if kill is None else -9):
        raise SystemExit(f"{recipe} ended with code {code}:\n{log.read_text()}")
    return log.read_text()


def measure(family: str, root: Path) -> dict[str, Any]:
    """Returns the row of a family by the names of the table."""
    recipe, more = RECIPES[family]
    steps = (f"steps={STEPS}", f"eval_every={STEPS}", f"save_every={KILL}", "log_every=1")
    alone, killed = root / family / "alone", root / family / "killed"
    shutil.rmtree(alone.parent, ignore_errors=True)  # of a call that was stopped
    alone.parent.mkdir(parents=True)
    train(recipe, (*steps, *more), alone)
    train(recipe, (*steps, *more), killed, kill=KILL)
    output = train(recipe, (*steps, *more), killed)
    begin = next((line.split()[-1] for line in output.splitlines() if line.startswith("resuming from")), "0")
    digests = [result(folder)["state_digest"][:16] for folder in (alone, killed)]
    size, batch = result(alone)["parameters"], resolve(recipe, more).data.batch_size
    name = recipe.removeprefix("experiments/").removesuffix(".py")
    values = (family, name, f"{size:,}", batch, *digests, begin, ", ".join(faults_of(killed, alone)) or "none")
    return dict(zip(_NAMES, values))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="parts of families; default: all")
    parser.add_argument("--outcomes", type=Path, help="file with rows, to which those of this call are appended")
    parser.add_argument("--keep", type=Path, help="folder of the runs; default: they are deleted")
    options = parser.parse_args()
    configure()
    with tempfile.TemporaryDirectory() as folder:
        path, root = options.outcomes or Path(folder) / "outcomes", options.keep or Path(folder)
        path.touch()
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        parts = options.only.lower().split(",")
        for family in RECIPES:
            if family in {row["family"] for row in rows} or not any(part in family.lower() for part in parts):
                continue
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            row = measure(family, root.absolute())
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            row["CPU s"] = f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.0f}"
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{family}: differences {row['differences']}", flush=True)
    print(aligned([_NAMES, *(tuple(str(row[name]) for name in _NAMES) for row in rows)]))
    print(f"\n{machine()}")
    return 1 if any(row["differences"] != "none" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
