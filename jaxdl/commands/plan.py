"""Compiles a recipe's train step for devices that need not be present, and prints its memory and time."""

import dataclasses
import inspect
import itertools
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fiddle as fdl
import jax
import numpy as np
from absl.flags import FlagValues
from fiddle import daglish

from jaxdl.commands.flags import CONFIG, SET, SHAPE, TOPOLOGY, Command, Flag
from jaxdl.config import resolve
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.synthetic import with_synthetic_data
from jaxdl.data.pipeline import Batches
from jaxdl.distributed.cost_model import Costs, costs
from jaxdl.distributed.hardware import Hardware, target
from jaxdl.errors import UserError
from jaxdl.runs.code import user_errors
from jaxdl.runs.table import aligned
from jaxdl.training.compiled import Program
from jaxdl.training.sources import load_sources

COMMAND = Command(
    name="plan",
    summary="Compiles the train step for other hardware and prints its memory and time",
    synopsis=("--config=RECIPE --topology=KIND:SHAPE [--shape=HEIGHT,WIDTH,CHANNELS] [--search] [--set=NAME=VALUE]",),
    flags=(
        CONFIG,
        TOPOLOGY,
        SHAPE,
        Flag("search", "Try other meshes, rematerialization and micro-batches.", kind=bool, default=False),
        SET,
    ),
    example="jaxdl plan --config=experiments/cnn/imagenet_resnet50.py --topology=h100:1x8 --shape=224,224,3",
    needs="jax",
)

REMATS = ("nothing", "dots", "all")
_VALUES = 10**8  # of a synthetic image
_MOST = 12  # configurations that a search compiles


def main(arguments: list[str], flags: FlagValues) -> None:
    run(flags.config, flags.set, flags.topology, flags.shape, flags.search)


@dataclass(frozen=True)
class Plan:
    """Costs of a step of one configuration on one device; `seconds` is the compile time."""

    settings: str
    mesh: dict[str, int]
    costs: Costs
    hardware: Hardware
    seconds: float

    @property
    def fits(self) -> bool:
        return self.hardware.memory is None or self.costs.peak <= self.hardware.memory

    @property
    def step(self) -> float | None:
        """Lower bound of the seconds of a step by the roofline model; None for unknown hardware."""
        parts = self.costs.seconds(self.hardware)
        return max(parts.get("compute", 0.0), parts.get("memory", 0.0)) + parts.get("links", 0.0) if parts else None


def run(
    recipe_name: str, settings: Sequence[str], topology: str, shape: str | None = None, search: bool = False
) -> list[Plan]:
    """Prints the memory and time of a step on each device, and whether it fits; a search sorts by expected time.

    Args as the flags; without `shape` the recipe's data must be prepared, for text any `shape` will do.

    Raises:
      UserError: An argument is invalid, or no configuration fits.
    """
    hardware, devices = target(topology)
    if hardware.platform != "cpu":
        jax.config.update("jax_enable_compilation_cache", False)  # a program for other devices cannot be loaded here
    config = resolve_shape(recipe_name, settings, shape)
    example = first_example(build(config))
    plans = []
    for changes in candidates(config, len(devices)) if search else [()]:
        try:
            plans.append(_plan(config, changes, example, hardware, devices))
        except UserError as error:
            if not search:
                raise
            print(f"{' '.join(changes)}: {error}", flush=True)
            continue
        if search:
            print(_line(plans[-1]), flush=True)
    # Stable: among equally fast plans that fit, the first changes least. If none fits, the smallest comes first.
    plans.sort(key=lambda plan: (False, plan.step or 0.0) if plan.fits else (True, plan.costs.peak))
    if not plans:
        raise UserError(f"no configuration of {recipe_name} can be compiled for {topology}")
    print(f"{recipe_name} on {topology}, {len(devices)} device(s)")
    print(as_text(plans[0]))
    if not plans[0].fits:
        excess = (plans[0].costs.peak - (hardware.memory or 0.0)) / 2**30
        advice = "a larger topology" if search else "--search, parallel.mesh, accumulate or a larger topology"
        raise UserError(f"it does not fit: {excess:.2f} GiB too much on each device; try {advice}")
    return plans


def candidates(config: fdl.Config, devices: int) -> Iterator[tuple[str, ...]]:
    """Yields overrides to try: none, then other meshes, then with rematerialization, then with micro-batches."""
    remat = _remat(config)
    meshes = []
    for tensor in (1, 2, 4, 8):
        for fsdp in dict.fromkeys((1, devices // tensor, min(8, devices // tensor))):
            if fsdp >= 1 and devices % (tensor * fsdp) == 0:
                meshes.append(f"parallel.mesh={{'data':{devices // (tensor * fsdp)},'fsdp':{fsdp},'tensor':{tensor}}}")
    remats = [(f"{remat[0]}={value!r}",) for value in remat[1]] if remat else [()]
    accumulates = [(), *((f"accumulate={number}",) for number in (4, 16) if config.data.batch_size % number == 0)]
    points = itertools.product(accumulates, remats, dict.fromkeys(meshes))
    yield from itertools.islice(((mesh, *remat, *accumulate) for accumulate, remat, mesh in points), _MOST)


def as_text(plan: Plan) -> str:
    """Returns a table of the costs of a step on one device."""
    costs, memory = plan.costs, plan.hardware.memory
    rows = [
        ("mesh", " ".join(f"{axis}={size}" for axis, size in plan.mesh.items())),
        *([("settings", plan.settings)] if plan.settings else []),
        ("parameters", _gib(costs.parameters)),
        ("optimizer", _gib(costs.optimizer)),
        *([("other state", _gib(costs.other))] if costs.other else []),
        ("batch", _gib(costs.batch)),
        ("activations", f"{_gib(costs.temporary)}, including gradients and other temporaries"),
        ("peak", _gib(costs.peak)),
    ]
    if memory:
        left = memory - costs.peak
        fits = f"fits, {_gib(left)} left" if left >= 0 else f"DOES NOT FIT, {_gib(-left)} too much"
        rows.append(("memory", f"{_gib(memory)}: {fits}"))
    if costs.flops is not None:
        rows.append(("work", f"{costs.flops / 1e9:,.1f} GFLOP"))
    rows += [(kind, f"{number:,}, {size / 1e6:,.1f} MB") for kind, (number, size) in costs.traffic.items()]
    if plan.step is not None:
        parts = ", ".join(f"{name} {1000 * seconds:.2f}" for name, seconds in costs.seconds(plan.hardware).items())
        rows.append(("step", f"{1000 * plan.step:.2f} ms at least, by the data sheet ({parts})"))
    rows.append(("compiled in", f"{plan.seconds:.1f} s"))
    return aligned(rows)


def _plan(
    config: fdl.Config,
    changes: Sequence[str],
    example: dict[str, np.ndarray],
    hardware: Hardware,
    devices: Sequence[Any],
) -> Plan:
    experiment = build(resolve(config, changes))
    start = time.perf_counter()
    try:
        with user_errors():
            program = Program(experiment, example, devices)
            _ = program.rows
            step_costs = costs(program)
    except jax.errors.JaxRuntimeError as error:  # some compilers reject programs that do not fit
        raise UserError(compiler_error(str(error))) from None
    sizes = {axis: int(size) for axis, size in program.mesh.shape.items()}
    return Plan(" ".join(changes), sizes, step_costs, hardware, time.perf_counter() - start)


def compiler_error(message: str) -> str:
    """Returns a compiler's error in one line."""
    lines = message.strip().splitlines()
    if message.startswith("RESOURCE_EXHAUSTED"):
        reason = lines[0].split("Oom: ")[-1].removeprefix("RESOURCE_EXHAUSTED: ")
        return f"it does not fit: {reason[:200]} Try --search, parallel.mesh, accumulate or a larger topology"
    errors = [line for line in lines if re.match(r"\w*(Error|Exception): ", line)]
    return f"it cannot be compiled: {(errors[-1] if errors else lines[0])[:300]}"


def first_example(experiment: Experiment) -> dict[str, np.ndarray]:
    """Returns a training batch of one example for its shapes and types, without loading evaluations."""
    data = experiment.data
    data = dataclasses.replace(data, evals={}, test=None, batch_size=min(8, data.batch_size), eval_batch_size=None)
    return dict(Batches(load_sources(data).train, data, experiment.seed, rows=slice(0, 1)).at(0))


def resolve_shape(recipe_name: str, settings: Sequence[str], shape: str | None) -> fdl.Config:
    """Returns the configuration, with synthetic data of --shape if given. Raises UserError for invalid arguments."""
    config = resolve(recipe_name, settings)
    if shape is None:
        return config
    try:
        sides = tuple(int(side) for side in shape.split(","))
        if math.prod(sides) > _VALUES:
            raise UserError(f"--shape={shape} has {math.prod(sides):,} values; write a shape of at most {_VALUES:,}")
        return with_synthetic_data(config, sides)
    except ValueError:
        raise UserError(f"--shape={shape} is not a shape; write HEIGHT,WIDTH,CHANNELS, such as 224,224,3") from None


def _remat(config: fdl.Config) -> tuple[str, Sequence[Any]] | None:
    """Returns the path of the model's rematerialization argument and its values; None if it has none."""
    for part, path in daglish.iterate(config.task):
        if not isinstance(part, fdl.Config):
            continue
        if "remat" in inspect.signature(fdl.get_callable(part)).parameters or "remat" in part.__arguments__:
            values = (False, True) if isinstance(getattr(part, "remat", None), bool) else REMATS
            return f"task{daglish.path_str(path)}.remat", values
    return None


def _line(plan: Plan) -> str:
    fits = "fits" if plan.fits else "does not fit"
    step = f", {1000 * plan.step:.2f} ms" if plan.step is not None else ""
    return f"{plan.settings}: {_gib(plan.costs.peak)}, {fits}{step}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**26 else f"{size / 2**20:.2f} MiB"
