"""Devices that are not here, to compile for, and what they can do by their makers' data sheets."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

from jaxdl.errors import UserError, nearest
from jaxdl.parallel.gpus import GPUS, description


@dataclass(frozen=True)
class Hardware:
    """One device, as its data sheet has it. None: not known.

    Attributes:
      name: of the kind.
      platform: JAX's.
      flops: floating-point operations a second in bfloat16, dense.
      memory: bytes.
      bandwidth: bytes a second from and to its memory.
      links: bytes a second to the other devices, sum of all links, one way.
    """

    name: str
    platform: str
    flops: float | None = None
    memory: float | None = None
    bandwidth: float | None = None
    links: float | None = None


_GB, _TB = 1e9, 1e12
HARDWARE = {
    each.name: each
    for each in (
        Hardware("cpu", "cpu"),
        Hardware("v5e", "tpu", 197 * _TB, 16 * 2**30, 819 * _GB, 200 * _GB),
        Hardware("v5p", "tpu", 459 * _TB, 95 * 2**30, 2765 * _GB, 600 * _GB),
        Hardware("v6e", "tpu", 918 * _TB, 32 * 2**30, 1640 * _GB, 400 * _GB),
        *(Hardware(name, "cuda", gpu.flops, gpu.memory, gpu.bandwidth, gpu.links) for name, gpu in GPUS.items()),
    )
}
_FORM = re.compile(r"([a-z0-9]+):(\d+(?:x\d+)*)")


def target(text: str) -> tuple[Hardware, Sequence[Any]]:
    """The hardware and the devices of a topology such as "cpu:8", "v5e:16x16" or "h100:1x8" (machines x GPUs).

    Raises:
      UserError: it has another form, is not known, or needs a package that is not here.
    """
    form = _FORM.fullmatch(text)
    if not form:
        raise UserError(f"--topology={text} is none; write KIND:SHAPE, such as v5e:16x16, h100:1x8 or cpu:8")
    name, shape = form[1], form[2]
    if name not in HARDWARE:
        raise UserError(f"--topology={text}: '{name}' is not known; {nearest(name, HARDWARE)}")
    hardware = HARDWARE[name]
    return hardware, {"cpu": _cpu, "tpu": _tpu, "cuda": _cuda}[hardware.platform](text, shape)


def _cpu(text: str, shape: str) -> Sequence[Any]:
    if not shape.isdecimal():
        raise UserError(f"--topology={text}: CPUs have no shape; write cpu:8")
    devices = jax.devices("cpu")
    if len(devices) != int(shape):
        raise UserError(f"--topology={text}: there are {len(devices)} CPU devices here; add --cpu_devices={shape}")
    return devices


def _tpu(text: str, shape: str) -> Sequence[Any]:
    from jax.experimental import topologies

    # Nobody is asked over the network what this machine is, and the compiler does not complain that nobody says so.
    unasked = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-1", "TPU_WORKER_HOSTNAMES": "localhost"}
    for name, value in unasked.items():
        os.environ.setdefault(name, value)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=text).devices
    except Exception as error:
        raise _cannot(text, error, installed="libtpu", extra="tpu") from None


def _cuda(text: str, shape: str) -> Sequence[Any]:
    from jax.experimental import topologies

    machines, _, gpus = shape.rpartition("x")
    name, sides = text.partition(":")[0], f"1x{machines or 1}x{gpus}"
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # nobody asks the driver, which need not be here
    try:
        described = description(name)
        return topologies.get_topology_desc(name, platform="cuda", target_config=described, topology=sides).devices
    except Exception as error:
        raise _cannot(text, error, installed="jax-cuda13-plugin", extra="cuda") from None


def _cannot(text: str, error: Exception, installed: str, extra: str) -> UserError:
    """What compiling for a topology needs: the vendor's package, or, where that is here, another topology."""
    try:
        version(installed)
    except PackageNotFoundError:
        return UserError(f"--topology={text} needs {installed}, the compiler for it: pip install -e '.[{extra}]'")
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return UserError(f"--topology={text} cannot be compiled for: {reason}; give another one")
