"""Kills trainings at random steps, resumes them, and compares them with trainings that were left alone.

  pip install -e . torch lightning transformers accelerate scikit-learn
  python docs/comparisons/resume/compare.py [--kills=3] [--seed=0] [NAME ...]

Each training runs twice without a kill, then with SIGKILL at a random step, followed by the same command. Prints a
Markdown table.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
STEPS, SAVE_EVERY = 400, 40
RECIPE = ["--config=experiments/cnn/digits.py", "--set=log_every=1", "--set=eval_every=400"]
RECIPE += [f"--set=steps={STEPS}", f"--set=save_every={SAVE_EVERY}"]
TRAININGS = {
    "PyTorch loop": [sys.executable, str(HERE / "torch_loop.py")],
    "Lightning": [sys.executable, str(HERE / "lightning_trainer.py")],
    "Hugging Face": [sys.executable, str(HERE / "huggingface_trainer.py")],
    "jaxdl": [sys.executable, str(HERE.parents[2] / "launch.py"), *RECIPE, "--workdir"],
}


def rows(folder: Path) -> list[dict]:
    """Returns the metrics of the training steps, as they stand in the file."""
    for name in ("steps.jsonl", "metrics.jsonl"):
        if (folder / name).exists():
            lines = [json.loads(line) for line in (folder / name).read_text().splitlines() if line.endswith("}")]
            return [line for line in lines if line.get("split", "train") == "train"]
    return []


def parameters(folder: Path) -> np.ndarray:
    if (folder / "final.npz").exists():
        return np.concatenate([value.ravel() for _, value in sorted(np.load(folder / "final.npz").items())])
    import jax

    import jaxdl

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jaxdl.load(folder).params)])


def run(command: list[str], folder: Path, kill_at: int | None = None) -> None:
    """Runs a training in a folder, and kills it once the metrics of a step are there."""
    process = subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while kill_at is not None and process.poll() is None:
        if len(rows(folder)) >= kill_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    code = process.wait()
    if code != (0 if kill_at is None else -signal.SIGKILL):
        raise SystemExit(f"{' '.join(command)}: exit code {code}")


def compare(command: list[str], kills: int, generator: random.Random, scratch: Path) -> list[str]:
    whole, again = scratch / "whole", scratch / "again"
    run(command, whole)
    run(command, again)
    losses = {row["step"]: row["loss"] for row in rows(whole)}
    final, repeated = parameters(whole), np.array_equal(parameters(whole), parameters(again))
    steps, duplicates, changed, missed, distances = [], 0, 0, [], []
    for number in range(kills):
        folder = scratch / f"killed_{number}"
        steps.append(generator.randrange(SAVE_EVERY + 5, STEPS - 20))
        run(command, folder, kill_at=steps[-1])
        run(command, folder)
        lines = rows(folder)
        last = {line["step"]: line for line in lines}
        duplicates += len(lines) - len(last)
        changed += sum(last[step]["loss"] != loss for step, loss in losses.items())
        if "index" in lines[0]:
            missed.append(never_seen(last, epoch=25, examples=1600))
        distances.append(np.linalg.norm(parameters(folder) - final) / np.linalg.norm(final))
    return [
        "yes" if repeated else "no",
        ", ".join(map(str, steps)),
        f"{duplicates / kills:.0f}",
        f"{changed / kills:.0f} of {STEPS}",
        ", ".join(map(str, missed)) or "-",
        "0, bitwise" if max(distances) == 0 else f"{max(distances):.1e}",
    ]


def never_seen(last: dict[int, dict], epoch: int, examples: int) -> int:
    """Returns the largest number of examples that an epoch of the resumed training leaves out."""
    counts = []
    for start in range(1, STEPS + 1, epoch):
        seen = {index for step in range(start, start + epoch) for index in last[step]["index"]}
        counts.append(examples - len(seen))
    return max(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TRAININGS)}; default: all")
    flags = parser.parse_args()
    columns = ["repeatable", "killed at step", "duplicate rows", "losses changed", "examples left out", "distance"]
    print(f"| training | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}", flush=True)
    for name in flags.names or TRAININGS:
        with tempfile.TemporaryDirectory() as scratch:
            values = compare(TRAININGS[name], flags.kills, random.Random(flags.seed), Path(scratch))
        print(f"| {name} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
