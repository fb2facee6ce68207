"""`launch.py show --shardings`: how each parameter is cut over the devices."""

import math
import sys
from collections.abc import Sequence
from typing import TextIO

import jax

from jaxdl.commands.list import print_table
from jaxdl.commands.plan import first_example, parse_shape
from jaxdl.config import overrides, serialize
from jaxdl.config.recipes import load_recipe
from jaxdl.config.synthetic import with_made_up_data
from jaxdl.distributed.hardware import target
from jaxdl.training.compiled import Program
from jaxdl.training.meters import leaf_names


def show(
    recipe_name: str,
    settings: Sequence[str],
    topology: str | None = None,
    shape: str | None = None,
    stream: TextIO | None = None,
) -> None:
    """Prints a line for each parameter: its shape, the mesh axis that each dimension is cut along, and what one device
    has of it.

    Args:
      recipe_name: what --config names.
      settings: the --set flags; parallel.mesh among them.
      topology: devices that need not be here, see `jaxdl.distributed.hardware.target`; None: those that are.
      shape: as of `jaxdl.commands.plan.run`.

    Raises:
      UserError: a mistake in any of these.
    """
    devices = target(topology)[1] if topology else jax.devices()
    config = overrides.resolve(load_recipe(recipe_name), settings)
    if shape is not None:
        config = with_made_up_data(config, parse_shape(shape))
    experiment = serialize.build(config)
    program = Program(experiment, first_example(experiment), devices)
    params = program.abstract.params
    lines, whole, here = [], 0, 0
    for name, leaf in zip(leaf_names(params), jax.tree.leaves(params)):
        part = leaf.sharding.shard_shape(leaf.shape)
        whole += math.prod(leaf.shape) * leaf.dtype.itemsize
        here += math.prod(part) * leaf.dtype.itemsize
        spec = [*leaf.sharding.spec, *[None] * (len(leaf.shape) - len(leaf.sharding.spec))]
        lines.append((name, _sides(leaf.shape), ", ".join(map(_axis, spec)) or "-", _sides(part)))
    out = stream or sys.stdout
    mesh = " ".join(f"{axis}={size}" for axis, size in program.mesh.shape.items())
    print(f"{recipe_name} on {len(devices)} device(s), mesh {mesh}", file=out)
    print_table(("parameter", "shape", "cut along", "on one device"), lines, out)
    print(f"{whole:,} bytes of parameters, {here:,} of them on one device ({here / max(whole, 1):.1%})", file=out)


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _axis(axis: str | tuple[str, ...] | None) -> str:
    return "-" if axis is None else axis if isinstance(axis, str) else "+".join(axis)
