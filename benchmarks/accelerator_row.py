"""One measurement of `benchmarks.accelerator` in its own process; prints a JSON object as its last line.

  python -m benchmarks.accelerator_row KIND RECIPE '{"settings": [...], ...}'

KIND is rate, train, lstm, attention or seeds. A process has its own compile options, peak memory and start-up.
"""

import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiddle as fdl

from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.config.synthetic import with_synthetic_data
from jaxdl.runs.environment import configure
from jaxdl.testing import tiny
from jaxdl.training.checkpoint import CheckpointPolicy

START = "JAXDL_BENCHMARK_START"  # time at which the parent started this process
NO_ACCELERATOR = "JAX finds no accelerator; --toy measures test sizes on the CPU"
_SEEDS = 32
_ROUNDS = 3


def configuration(recipe: str, options: dict[str, Any]) -> fdl.Config:
    """Returns the configuration of a recipe on synthetic data; with `toy`, at test size on the data of the tests."""
    steps = options.get("steps", 4)
    if options.get("toy"):
        config = tiny(load_recipe(recipe))
        config.data.evals, config.keep, config.select = {}, CheckpointPolicy(), "last"
    else:
        config = resolve(recipe, [])
        with_synthetic_data(config, tuple(options.get("shape", (224, 224, 3))), options["batch"])
        config.data.batch_size, config.accumulate = options["batch"], options.get("accumulate", 1)
    config.data.workers, config.start = 0, None
    config.steps, config.log_every, config.save_every, config.eval_every = steps, 1, 2, steps
    return config


def timed(call: Callable[[], Any], seconds: float) -> float:
    """Returns the seconds of a call, the median of three rounds of at least a third of `seconds`; it is warm."""
    import jax

    start = time.perf_counter()
    jax.block_until_ready(call())
    count = max(1, int(seconds / _ROUNDS / max(time.perf_counter() - start, 1e-6)))
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            result = call()
        jax.block_until_ready(result)
        rounds.append((time.perf_counter() - start) / count)
    return statistics.median(rounds)


def step_time(config: fdl.Config, seconds: float) -> dict[str, Any]:
    """Measures the train step on one device, with one batch that stays there."""
    import jax

    from jaxdl.distributed.cost_model import costs
    from jaxdl.distributed.hardware import peak_flops
    from jaxdl.training.flops import mfu
    from jaxdl.training.loop import make_program
    from jaxdl.training.sources import load_sources, training_batches

    experiment = build(config)
    sources = load_sources(experiment.data)
    device = jax.devices()[0]
    program = make_program(experiment, sources, [device])
    batch = program.place(training_batches(sources.train, experiment, rows=program.rows).at(0))
    state, report = program.step(program.init(), batch)
    jax.block_until_ready((state, report))
    first = time.time() - float(os.environ.get(START, time.time()))

    def step() -> Any:
        nonlocal state
        state, report = program.step(state, batch)
        return report

    spent = timed(step, seconds)
    memory = device.memory_stats() or {}
    return {
        "step_time": spent,
        "examples": experiment.data.batch_size,
        "tokens": experiment.task.token_count(program.batch_shape),
        "first_step": first,
        "mfu": mfu(program.flops, spent, 1, peak_flops(device.device_kind)),
        "peak": memory.get("peak_bytes_in_use"),
        "planned": costs(program).peak,
    }


def rate(recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measures the train step of a recipe."""
    return step_time(configuration(recipe, options), options["seconds"])


def train(recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """Trains a few steps in a run folder, or resumes them; the parent may kill this process."""
    from jaxdl.commands.train import make

    result = make(configuration(recipe, options), "", (), Path(options["workdir"]), shown=False)
    return {"digest": result["state_digest"], "step": result["step"]}


def lstm(recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measures a recurrent language model with the scan and with cuDNN."""
    from jaxdl.models.rnn import LSTM, CudnnLSTM

    times = {}
    for cell in (LSTM, CudnnLSTM):
        config = configuration(recipe, options)
        config.task.model.cell = cell
        if not options.get("toy"):
            config.task.model.features = options["features"]
        times[cell] = step_time(config, options["seconds"])
    return {**times[CudnnLSTM], "ratio": times[LSTM]["step_time"] / times[CudnnLSTM]["step_time"]}


def seeds(recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measures a program of 32 members of an ensemble, relative to one."""
    one = configuration(recipe, options)
    many = configuration(recipe, options)
    one.ensemble, many.ensemble = None, _SEEDS
    times = [step_time(config, options["seconds"]) for config in (one, many)]
    return {**times[1], "ratio": times[1]["step_time"] / times[0]["step_time"]}


def attention(_: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measures the forward pass of attention with heads of 128 in bfloat16, without a mask."""
    import jax
    import jax.numpy as jnp

    from jaxdl.models.layers.dot_product import Scores, dot_product_attention

    shape = (1, 32, 2, 128) if options.get("toy") else (4, 8192, 16, 128)  # [batch, time, heads, width]
    draws = (jax.random.normal(key, shape, jnp.bfloat16) for key in jax.random.split(jax.random.key(0), 3))
    arrays = tuple(draws)
    attend = jax.jit(functools.partial(dot_product_attention, scores=Scores(scale=128**-0.5)))
    spent = timed(lambda: attend(*arrays), options["seconds"])
    batch, length, heads, width = shape
    return {"step_time": spent, "tflops": 4e-12 * batch * heads * length**2 * width / spent}


KINDS = {"rate": rate, "train": train, "lstm": lstm, "seeds": seeds, "attention": attention}


def main(kind: str, recipe: str, text: str) -> None:
    options = json.loads(text)
    configure(cpu_devices=1 if options.get("toy") else None, deterministic=options.get("deterministic", True))
    import jax

    if jax.default_backend() == "cpu" and not options.get("toy"):
        sys.exit(NO_ACCELERATOR)
    figures = KINDS[kind](recipe, options)
    print(json.dumps({**figures, "device": jax.devices()[0].device_kind}))


if __name__ == "__main__":
    main(*sys.argv[1:])
