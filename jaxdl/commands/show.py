"""Prints a configuration, the sharding of its parameters, or a run with its profile."""

import math
import sys
from collections.abc import Sequence
from typing import TextIO

from absl.flags import FlagValues

from jaxdl.commands.flags import CONFIG, SET, SHAPE, TOPOLOGY, Command, Flag
from jaxdl.config import describe, resolve
from jaxdl.config.experiment import build
from jaxdl.errors import UserError, printable
from jaxdl.runs import profiles
from jaxdl.runs.environment import compiler_flags
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import latest
from jaxdl.runs.table import print_table

COMMAND = Command(
    name="show",
    summary="Prints a configuration, the sharding of its parameters, or a run with its profile",
    synopsis=(
        "--config=RECIPE [--set=NAME=VALUE]",
        "--config=RECIPE --shardings [--topology=KIND:SHAPE] [--shape=HEIGHT,WIDTH,CHANNELS] [--set=NAME=VALUE]",
        "RUN",
    ),
    flags=(
        CONFIG,
        SET,
        Flag("shardings", "Print how each parameter is sharded over the devices.", kind=bool, default=False),
        TOPOLOGY,
        SHAPE,
    ),
    example="jaxdl show --config=experiments/cnn/digits.py --shardings --topology=v5e:4x4",
    needs="jax",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    if arguments:
        print(describe_run(arguments[0]), end="")
        return
    if flags.shardings:
        show(flags.config, flags.set, flags.topology, flags.shape)
        return
    if flags.topology or flags.shape:
        raise UserError("--topology and --shape need --shardings: jaxdl show --config=RECIPE --shardings")
    config = resolve(flags.config, flags.set)
    build(config)
    print(describe(config))
    for name, value in compiler_flags(planned=True).items():
        print(f"{name}: {value}")


def describe_run(path: str) -> str:
    """Returns the configuration of a run, its devices, and the summary of its profile if it has one.

    No code of the run is needed.

    Raises:
      UserError: Not a run, or damaged files.
    """
    folder = RunFolder.open(path)
    devices = latest(folder.manifest(), "devices")
    described = "".join(f"{name}: {value}\n" for name, value in devices.items() if value != "")
    summaries = profiles.read(folder.path)
    parts = [folder.config_text(), described, *([profiles.describe(summaries)] if summaries else [])]
    return "".join(f"{printable(line)}\n" for line in "\n".join(parts).splitlines())


def show(
    recipe_name: str,
    settings: Sequence[str],
    topology: str | None = None,
    shape: str | None = None,
    stream: TextIO | None = None,
) -> None:
    """Prints the shape, mesh axes and shape on one device of each parameter. Args as the flags."""
    import jax

    from jaxdl.commands.plan import first_example, resolve_shape
    from jaxdl.distributed.hardware import target
    from jaxdl.runs.code import user_errors
    from jaxdl.training.compiled import Program
    from jaxdl.training.state import leaf_names

    devices = target(topology)[1] if topology else jax.devices()
    experiment = build(resolve_shape(recipe_name, settings, shape))
    with user_errors():
        program = Program(experiment, first_example(experiment), devices)
    params = program.abstract.params
    lines, total, local = [], 0, 0
    for name, leaf in zip(leaf_names(params), jax.tree.leaves(params)):
        part = leaf.sharding.shard_shape(leaf.shape)
        total += math.prod(leaf.shape) * leaf.dtype.itemsize
        local += math.prod(part) * leaf.dtype.itemsize
        spec = [*leaf.sharding.spec, *[None] * (len(leaf.shape) - len(leaf.sharding.spec))]
        lines.append((name, _sides(leaf.shape), ", ".join(map(_axis, spec)) or "-", _sides(part)))
    out = stream or sys.stdout
    mesh = " ".join(f"{axis}={size}" for axis, size in program.mesh.shape.items())
    print(f"{recipe_name} on {len(devices)} device(s), mesh {mesh}", file=out)
    print_table(("parameter", "shape", "sharded along", "on one device"), lines, out)
    print(f"{total:,} bytes of parameters, {local:,} of them on one device ({local / max(total, 1):.1%})", file=out)


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _axis(axis: str | tuple[str, ...] | None) -> str:
    return "-" if axis is None else axis if isinstance(axis, str) else "+".join(axis)
