"""Overhead of the training loop: its steps per second relative to the bare compiled step.

  python -m benchmarks.loop [--config=experiments/cnn/fashion_mnist.py] [--steps=120] [--rounds=9]

The bare step reuses one batch on the device. Both run in this process, alternately, over the same compiled step, with
the malloc settings of launch.py. Prints one line per round, and the median of the rounds' ratios, so that drift of the
machine affects both.
"""

import argparse
import dataclasses
import io
import statistics
import tempfile
import time
from pathlib import Path

import jax

from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.data.pipeline import Batches
from jaxdl.runs import environment
from jaxdl.runs.folder import RunFolder
from jaxdl.training.compiled import Program
from jaxdl.training.loop import make_program, train
from jaxdl.training.progress import Progress
from jaxdl.training.sources import Sources, load_sources


def bare(program: Program, sources: Sources, steps: int) -> float:
    """Measures steps per second of the compiled step on one device batch."""
    experiment = program.experiment
    batch = program.place(Batches(sources.train, experiment.data, 0, rows=program.rows).at(0))
    state, _ = program.step(program.init(), batch)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(steps):
        state, report = program.step(state, batch)
    jax.block_until_ready((state, report))
    return steps / (time.perf_counter() - start)


def looped(experiment: Experiment, program: Program, sources: Sources, steps: int) -> tuple[float, float]:
    """Measures steps per second of the loop, and its share of data waits."""
    short = dataclasses.replace(experiment, steps=steps, log_every=steps // 6, eval_every=10**9, save_every=10**9)
    data = dataclasses.replace(short.data, evals={}, test=None)
    short = dataclasses.replace(short, data=data, select="last", keep=dataclasses.replace(short.keep, metric=None))
    with tempfile.TemporaryDirectory() as path, RunFolder(Path(path) / "run") as folder:
        only = Sources(sources.train, {})
        train(short, folder, Progress(steps, file=io.StringIO()), only, identity={}, wall=lambda: 1.0, program=program)
        rows = [row for row in folder.rows() if row["split"] == "train"][2:]  # the first two include the start
    step_time = statistics.mean(row["step_time"] for row in rows if "step_time" in row)
    return 1 / step_time, statistics.mean(row["data_wait_share"] for row in rows if "step_time" in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", default="experiments/cnn/fashion_mnist.py")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    environment.tune_malloc()
    environment.configure()
    experiment = build(resolve(arguments.config, arguments.set))
    sources = load_sources(experiment.data)
    program = make_program(experiment, sources)
    rounds = []
    for number in range(arguments.rounds):
        baseline = bare(program, sources, arguments.steps)
        loop, wait = looped(experiment, program, sources, arguments.steps)
        rounds.append((baseline, loop, wait))
        print(
            f"round {number + 1}: bare {baseline:.2f} steps/s, loop {loop:.2f} steps/s, data wait {wait:.2%} of a step"
        )
    ratio = statistics.median(loop / baseline for baseline, loop, _ in rounds)
    wait = statistics.median(wait for _, _, wait in rounds)
    print(f"loop / bare {ratio:.3f}, data wait {wait:.2%} (medians of {len(rounds)} rounds)")


if __name__ == "__main__":
    main()
