"""Throughput of the large recipes on one accelerator, against public figures.

  python -m benchmarks.accelerator [--only=gpt2,resnet] [--outcomes=FILE] [--budget=280] [--toy]

It needs no installation: run it in a copy of the repository, with jaxdl's dependencies on PYTHONPATH (rates: Flax,
optax and Fiddle beside JAX; resume: all). Data are synthetic, and a batch stays on the device. Each measurement is a
process and is printed when it is done. With --outcomes, finished ones are read from FILE and not repeated, and failed
ones are, so that calls of a few minutes measure one after the other. A call ends within --budget seconds. --toy
measures test sizes on the CPU.

For each recipe: tokens/s or images/s with the target, MFU, peak memory and the peak that `plan` predicts, seconds from
launch to the first step with a cold compile cache, the cost of determinism (step time relative to --nodeterministic),
and whether a run that was killed by SIGKILL and resumed has the digest of an undisturbed one.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.accelerator_row import NO_ACCELERATOR, START
from jaxdl.runs.table import aligned

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Workload:
    """Recipe or kernel to measure.

    Attributes:
      name: Name of the row.
      kind: Function of `benchmarks.accelerator_row`.
      recipe: Recipe file.
      unit: Unit of the rate.
      target: Rate to reach on one H200. 0: none.
      options: Batch, image shape and the like.
      resumes: Whether it is killed and resumed; checkpoints of the largest model would not fit.
    """

    name: str
    kind: str
    recipe: str
    unit: str
    target: float
    options: Mapping[str, Any] = field(default_factory=dict)
    resumes: bool = True


def _recipe(name: str, unit: str, target: float, resumes: bool = True, **options: Any) -> Workload:
    return Workload(Path(name).name, "rate", f"experiments/{name}.py", unit, target, options, resumes)


# The most important first. Batches fill a GPU of 80 GB or more; those of GPT-2 are accumulated as in its recipe.
WORKLOADS = (
    _recipe("transformer/gpt2_124m", "tokens/s", 600_000, batch=512, accumulate=8),
    _recipe("cnn/imagenet_resnet50", "images/s", 3_500, batch=256),
    _recipe("diffusion/imagenet_dit_xl2", "images/s", 300, batch=128, shape=(32, 32, 3)),
    _recipe("transformer/vit_s16_imagenet", "images/s", 4_900, batch=512),
    _recipe("diffusion/cifar10_edm", "images/s", 1_200, batch=256, shape=(32, 32, 3)),
    Workload("attention", "attention", "", "TFLOP/s", 550, resumes=False),
    Workload(
        *("lstm_1024", "lstm", "experiments/rnn/austen_chars.py", "x of the scan", 5),
        {"batch": 128, "features": 1024},
        resumes=False,
    ),
    Workload(
        *("digits_32_seeds", "seeds", "experiments/cnn/digits.py", "x of one seed", 4),
        {"batch": 128, "shape": (8, 8, 1)},
        resumes=False,
    ),
    _recipe("transformer/llama_7b", "tokens/s", 12_000, resumes=False, batch=2),
    _recipe("cnn/imagenet_convnext", "images/s", 0, batch=256),
)
PARTS = ("rate", "resume", "nondeterministic")


class OutOfTime(Exception):
    """The budget is spent."""


class Bench:
    """Measures in processes, within a budget.

    Args:
      seconds: Budget.
      toy: Whether test sizes are measured on the CPU.
    """

    def __init__(self, seconds: float, toy: bool):
        self._end, self._toy = time.monotonic() + seconds, toy
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)

    def close(self) -> None:
        self._temporary.cleanup()

    def start(self, workload: Workload, kind: str, **more: Any) -> subprocess.Popen:
        options = {"seconds": 0.3 if self._toy else 6.0, "toy": self._toy, **workload.options, **more}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        environment |= {START: str(time.time()), "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled")}
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
        command = [sys.executable, "-m", "benchmarks.accelerator_row", kind, workload.recipe, json.dumps(options)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def wait(self, process: subprocess.Popen) -> dict[str, Any]:
        """Returns the figures that a process prints, or {"error": the last line of its errors}."""
        try:
            output, errors = process.communicate(timeout=max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise OutOfTime from None
        if process.returncode == 0:
            return json.loads(output.splitlines()[-1])
        lines = [line for line in errors.splitlines() if line.strip()]
        named = [line for line in lines if "RESOURCE_EXHAUSTED" in line or "Error" in line.partition(":")[0]]
        return {"error": (named or lines or [f"exit code {process.returncode}"])[-1].strip()[:160]}

    def measure(self, workload: Workload, part: str) -> dict[str, Any]:
        """Measures a part of a row."""
        if part == "resume":
            return self._resume(workload)
        return self.wait(self.start(workload, workload.kind, deterministic=part == "rate"))

    def _resume(self, workload: Workload) -> dict[str, Any]:
        """Trains four steps undisturbed, and killed after the checkpoint of step 2 and resumed; compares digests."""
        runs = [self.folder / workload.name / name for name in ("alone", "killed")]
        try:
            alone = self.wait(self.start(workload, "train", workdir=str(runs[0])))
            if "error" in alone:
                return alone
            process = self.start(workload, "train", workdir=str(runs[1]))
            while process.poll() is None and not (runs[1] / "checkpoints" / "2").is_dir():
                if time.monotonic() > self._end:
                    process.kill()
                    raise OutOfTime
                time.sleep(0.01)
            process.kill()
            process.communicate()
            finished = (runs[1] / "result.json").exists()
            resumed = self.wait(self.start(workload, "train", workdir=str(runs[1])))
        finally:
            shutil.rmtree(self.folder / workload.name, ignore_errors=True)
        if "error" in resumed:
            return resumed
        return {"equal": alone["digest"] == resumed["digest"], "killed": not finished, "digest": alone["digest"]}


def parts(workload: Workload) -> Iterator[str]:
    """Yields the measurements of a row."""
    yield "rate"
    if workload.resumes:
        yield "resume"
    if workload.kind == "rate":
        yield "nondeterministic"


NAMES = (
    "workload",
    "rate",
    "unit",
    "target",
    "of target",
    "MFU",
    "peak",
    "planned",
    "first step",
    "determinism",
    "resume",
)


def row(workload: Workload, found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the cells of a row; "" where a part was not measured."""
    figures, resume, other = (found.get(part, {}) for part in PARTS)
    speed = _rate(workload, figures)
    lower = workload.kind == "seeds"  # a smaller figure is better
    share = (workload.target / speed if lower else speed / workload.target) if speed and workload.target else None
    cost = figures["step_time"] / other["step_time"] if "step_time" in figures and "step_time" in other else None
    error = next((part["error"] for part in (figures, resume, other) if "error" in part), "")
    same = "equal" if resume.get("equal") else "DIFFERENT"
    digests = "" if "equal" not in resume else same if resume["killed"] else "not killed"
    return (
        workload.name,
        f"{speed:,.4g}" if speed and speed < 1000 else f"{speed:,.0f}" if speed else "",
        workload.unit,
        f"{workload.target:,.0f}" if workload.target else "",
        f"{share:.0%}" if share else "",
        f"{figures['mfu']:.1%}" if figures.get("mfu") else "",
        _gigabytes(figures.get("peak")),
        _gigabytes(figures.get("planned")),
        f"{figures['first_step']:.1f} s" if figures.get("first_step") else "",
        f"{cost:.2f}x" if cost else "",
        digests + (f"  {error}" if error else ""),
    )


def _rate(workload: Workload, figures: Mapping[str, Any]) -> float | None:
    if "step_time" not in figures:
        return None
    if workload.kind != "rate":
        return figures.get("tflops") or figures.get("ratio")
    return (figures["tokens"] or figures["examples"]) / figures["step_time"]


def _gigabytes(size: float | None) -> str:
    return f"{size / 1e9:.1f} GB" if size else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="parts of names of workloads; default: all")
    parser.add_argument(
        "--outcomes", type=Path, help="file with measurements, to which those of this call are appended"
    )
    parser.add_argument("--budget", type=float, default=280, help="seconds of this call")
    parser.add_argument("--toy", action="store_true", help="test sizes on the CPU")
    options = parser.parse_args(arguments)
    words = options.only.lower().split(",")
    chosen = [workload for workload in WORKLOADS if any(word in workload.name for word in words)]
    found: dict[str, dict[str, Any]] = {workload.name: {} for workload in chosen}
    if options.toy:  # the targets are those of full sizes
        chosen = [dataclasses.replace(workload, target=0) for workload in chosen]
    # First all rates, then the rest.
    due = [(part, workload) for part in PARTS for workload in chosen if part in parts(workload)]
    if options.outcomes and options.outcomes.exists():
        for line in options.outcomes.read_text().splitlines():
            known = json.loads(line)
            if known["toy"] == options.toy and known["workload"] in found:
                found[known["workload"]][known["part"]] = known["figures"]
    bench, left = Bench(options.budget, options.toy), 0
    try:
        for number, (part, workload) in enumerate(due):
            if part in found[workload.name]:
                continue
            try:
                figures = bench.measure(workload, part)
            except OutOfTime:
                left = sum(other not in found[one.name] for other, one in due[number:])
                break
            if figures.get("error") == NO_ACCELERATOR:
                print(NO_ACCELERATOR, file=sys.stderr)
                return 2
            found[workload.name][part] = figures
            if options.outcomes and "error" not in figures:
                line = {"workload": workload.name, "part": part, "toy": options.toy, "figures": figures}
                with options.outcomes.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            cells = filter(None, row(workload, found[workload.name]))
            print(f"{part}: {'  '.join(cells)}", flush=True)
    finally:
        bench.close()
    print(aligned([NAMES, *(row(workload, found[workload.name]) for workload in chosen)]))
    if left:
        more = "" if options.outcomes else "; with --outcomes=FILE"
        print(f"{left} measurement(s) left after {options.budget:.0f} s{more} the same command continues")
    measured = [figures for parts_found in found.values() for figures in parts_found.values()]
    return 1 if any("error" in figures or figures.get("equal") is False for figures in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
