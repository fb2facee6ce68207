"""`launch.py plan`: a recipe's train step, compiled for devices that need not be here, and what it needs of each."""

import copy
import dataclasses
import inspect
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fiddle as fdl
import jax
import numpy as np
from fiddle import daglish

from jaxdl.config import overrides, serialize
from jaxdl.config.experiment import Experiment
from jaxdl.config.recipes import load_recipe
from jaxdl.config.synthetic import with_made_up_data
from jaxdl.data.pipeline import Batches
from jaxdl.distributed.cost_model import Costs, costs
from jaxdl.distributed.hardware import Hardware, target
from jaxdl.errors import UserError
from jaxdl.training.compiled import Program
from jaxdl.training.sources import load_sources

REMATS = ("nothing", "all but products", "all")
_MOST = 12  # configurations that a search compiles


@dataclass(frozen=True)
class Plan:
    """What one configuration needs.

    Attributes:
      settings: what it has besides the recipe, for people.
      mesh: devices along each axis.
      costs: of a step on one device.
      hardware: the device.
      seconds: that compiling took.
    """

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
        """Seconds that a step takes at least, by the roofline; None where the hardware is not known."""
        parts = self.costs.seconds(self.hardware)
        return max(parts.get("compute", 0.0), parts.get("memory", 0.0)) + parts.get("links", 0.0) if parts else None


def run(
    recipe_name: str, settings: Sequence[str], topology: str, shape: str | None = None, search: bool = False
) -> list[Plan]:
    """Prints what a step needs of each device, and whether it fits.

    Args:
      recipe_name: what --config names.
      settings: the --set flags.
      topology: see `jaxdl.distributed.hardware.target`.
      shape: "HEIGHT,WIDTH,CHANNELS" of made-up images in place of the recipe's data, which need not be here then; for
        text any value will do.
      search: try other meshes, recomputation and micro-batches, too, and order what fits by the expected time.

    Raises:
      UserError: a mistake in any of these, or nothing fits.
    """
    hardware, devices = target(topology)
    if hardware.platform != "cpu":
        jax.config.update("jax_enable_compilation_cache", False)  # a program for other devices cannot be loaded here
    config = overrides.resolve(load_recipe(recipe_name), settings)
    if shape is not None:
        config = with_made_up_data(config, parse_shape(shape))
    example = first_example(serialize.build(config))
    found = []
    for changes in candidates(config, len(devices)) if search else [()]:
        try:
            found.append(_plan(config, changes, example, hardware, devices))
        except UserError as error:
            if not search:
                raise
            print(f"{' '.join(changes)}: {error}", flush=True)
            continue
        if search:
            print(_line(found[-1]), flush=True)
    # Of those that fit and are as fast the first one changes least; of those that do not the smallest is the nearest.
    found.sort(key=lambda plan: (False, plan.step or 0.0) if plan.fits else (True, plan.costs.peak))
    if not found:
        raise UserError(f"no configuration of {recipe_name} can be compiled for {topology}")
    print(f"{recipe_name} on {topology}, {len(devices)} device(s)")
    print(as_text(found[0]))
    if not found[0].fits:
        over = (found[0].costs.peak - (hardware.memory or 0.0)) / 2**30
        advice = "a larger topology" if search else "--search, parallel.mesh, accumulate or a larger topology"
        raise UserError(f"it does not fit: {over:.2f} GiB too much on each device; try {advice}")
    return found


def candidates(config: fdl.Config, devices: int) -> Iterator[tuple[str, ...]]:
    """Overrides to try: the configuration itself, then other meshes, then with recomputation, then in micro-batches."""
    remat = _remat(config)
    meshes = []
    for tensor in (1, 2, 4, 8):
        for fsdp in dict.fromkeys((1, devices // tensor, min(8, devices // tensor))):
            if fsdp >= 1 and devices % (tensor * fsdp) == 0:
                meshes.append(f"parallel.mesh={{'data':{devices // (tensor * fsdp)},'fsdp':{fsdp},'tensor':{tensor}}}")
    remats = [(f"{remat[0]}={each!r}",) for each in remat[1]] if remat else [()]
    accumulates = [(), *((f"accumulate={number}",) for number in (4, 16) if config.data.batch_size % number == 0)]
    points = itertools.product(accumulates, remats, dict.fromkeys(meshes))
    every = ((mesh, *again, *parts) for parts, again, mesh in points)
    yield from itertools.islice(every, _MOST)


def as_text(plan: Plan) -> str:
    """A table of what a device needs."""
    found, memory = plan.costs, plan.hardware.memory
    rows = [
        ("mesh", " ".join(f"{axis}={size}" for axis, size in plan.mesh.items())),
        *([("settings", plan.settings)] if plan.settings else []),
        ("parameters", _gib(found.parameters)),
        ("optimizer", _gib(found.optimizer)),
        *([("other state", _gib(found.other))] if found.other else []),
        ("batch", _gib(found.batch)),
        ("activations", f"{_gib(found.temporary)}, with gradients and all else that is temporary"),
        ("peak", _gib(found.peak)),
    ]
    if memory:
        left = memory - found.peak
        rows.append(
            (
                "memory",
                f"{_gib(memory)}: {'fits' if left >= 0 else 'DOES NOT FIT'}, {_gib(abs(left))} "
                f"{'left' if left >= 0 else 'too much'}",
            )
        )
    if found.flops is not None:
        rows.append(("work", f"{found.flops / 1e9:,.1f} GFLOP"))
    rows += [(kind, f"{number:,}, {size / 1e6:,.1f} MB") for kind, (number, size) in found.traffic.items()]
    if plan.step is not None:
        parts = ", ".join(f"{name} {1000 * each:.2f}" for name, each in found.seconds(plan.hardware).items())
        rows.append(("step", f"{1000 * plan.step:.2f} ms at least, by the data sheet ({parts})"))
    rows.append(("compiled in", f"{plan.seconds:.1f} s"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _plan(
    config: fdl.Config,
    changes: Sequence[str],
    example: dict[str, np.ndarray],
    hardware: Hardware,
    devices: Sequence[Any],
) -> Plan:
    experiment = serialize.build(overrides.override(copy.deepcopy(config), list(changes)))
    start = time.perf_counter()
    program = Program(experiment, example, devices)
    _ = program.rows
    try:
        found = costs(program)
    except jax.errors.JaxRuntimeError as error:  # some compilers refuse what does not fit
        raise UserError(_refused(str(error))) from None
    sizes = {axis: int(size) for axis, size in program.mesh.shape.items()}
    return Plan(" ".join(changes), sizes, found, hardware, time.perf_counter() - start)


def _refused(message: str) -> str:
    """What a compiler's error says, in one line."""
    lines = message.strip().splitlines()
    if message.startswith("RESOURCE_EXHAUSTED"):
        reason = lines[0].split("Oom: ")[-1].removeprefix("RESOURCE_EXHAUSTED: ")
        return f"it does not fit: {reason[:200]} Try --search, parallel.mesh, accumulate or a larger topology"
    told = [line for line in lines if re.match(r"\w*(Error|Exception): ", line)]
    return f"it cannot be compiled: {(told or lines)[-1 if told else 0][:300]}"


def first_example(experiment: Experiment) -> dict[str, np.ndarray]:
    """A training batch of one example, for shapes and types; evaluations are not loaded."""
    data = experiment.data
    data = dataclasses.replace(data, evals={}, test=None, batch_size=min(8, data.batch_size), eval_batch_size=None)
    return dict(Batches(load_sources(data).train, data, experiment.seed, rows=slice(0, 1)).at(0))


def parse_shape(text: str) -> tuple[int, ...]:
    """What --shape says. Raises UserError where that is none."""
    try:
        return tuple(int(side) for side in text.split(","))
    except ValueError:
        raise UserError(f"--shape={text} is no shape; write HEIGHT,WIDTH,CHANNELS, such as 224,224,3") from None


def _remat(config: fdl.Config) -> tuple[str, Sequence[Any]] | None:
    """The path of the argument that says what is computed again, and its values, if the task's model has one."""
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
