"""Accelerators: peak FLOP/s, memory and bandwidth by data sheet, and descriptions for ahead-of-time compilation."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.errors import UserError, install, nearest


@dataclass(frozen=True)
class Gpu:
    """Of one kind of NVIDIA GPU, by its data sheet and by what CUDA says of such a device.

    Attributes:
      capability: CUDA's compute capability, (major, minor).
      processors: streaming multiprocessors.
      lanes: float32 units of each.
      clock: GHz.
      memory: bytes.
      bandwidth: bytes a second.
      cache: bytes of level 2.
      shared: bytes of shared memory of each multiprocessor.
      flops: floating-point operations a second in bfloat16, dense.
      links: bytes a second to the other GPUs of a machine, one way.
    """

    capability: tuple[int, int]
    processors: int
    lanes: int
    clock: float
    memory: int
    bandwidth: int
    cache: int
    shared: int
    flops: float
    links: float


GPUS = {
    "a100": Gpu((8, 0), 108, 64, 1.41, 85_100_068_864, 2_039_040_000_000, 40 * 2**20, 164 * 1024, 312e12, 300e9),
    "h100": Gpu((9, 0), 132, 128, 1.98, 84_942_979_072, 3_352_320_000_000, 50 * 2**20, 228 * 1024, 989e12, 450e9),
    "h200": Gpu((9, 0), 132, 128, 1.98, 151_397_597_184, 4_800_000_000_000, 50 * 2**20, 228 * 1024, 989e12, 450e9),
}


def description(name: str) -> str:
    """XLA's `GpuTargetConfigProto` of a GPU, as text."""
    gpu = GPUS[name]
    facts = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "threads_per_core_limit": 2048,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_block_optin": gpu.shared - 1024,  # CUDA keeps 1 KB of it for itself
        "shared_memory_per_core": gpu.shared,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "core_count": gpu.processors,
        "fpus_per_core": gpu.lanes,
        "clock_rate_ghz": gpu.clock,
        "device_memory_size": gpu.memory,
        "memory_bandwidth": gpu.bandwidth,
        "l2_cache_size": gpu.cache,
    }
    lines = "\n".join(f"  {key}: {value}" for key, value in facts.items())
    major, minor = gpu.capability
    capability = f"  cuda_compute_capability {{ major: {major} minor: {minor} }}"
    return (
        f"gpu_device_info {{\n{lines}\n{capability}\n}}\n"
        f'platform_name: "CUDA"\ndnn_version_info {{ major: 9 minor: 10 }}\ndevice_description_str: "{name}"\n'
    )


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
        return UserError(f"--topology={text} needs {installed}, the compiler for it: {install(extra)}")
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return UserError(f"--topology={text} cannot be compiled for: {reason}; give another one")


# Peak operations a second of one JAX device: (device kind, 16-bit type, 16-bit peak, float32 peak), from NVIDIA's
# datasheets of each product and Google Cloud's TPU pages. Dense: NVIDIA's figures with sparsity are twice as high. TPU
# v2, v3 and 7x have two devices a chip, so half the chip's figure. float32 is what JAX does with float32 matrices
# unless asked for more: TF32 on Ampere and later, one bfloat16 pass on TPUs.
_PEAKS = (
    (r"\bV100-PCIE\b", "float16", 112e12, 14e12),
    (r"\bV100\b", "float16", 125e12, 15.7e12),
    (r"\bA100\b", "both", 312e12, 156e12),
    (r"\bL4$", "both", 121e12, 60e12),
    (r"\bH100 PCIe\b", "both", 756e12, 378e12),
    (r"\b(H100|H200) NVL\b", "both", 835e12, 417e12),
    (r"\b(H100|H200|GH200)\b", "both", 989e12, 494e12),
    (r"^TPU v2$", "bfloat16", 22.5e12, 22.5e12),
    (r"^TPU v3$", "bfloat16", 61.5e12, 61.5e12),
    (r"^TPU v4$", "bfloat16", 275e12, 275e12),
    (r"^TPU v5( lite|e)$", "bfloat16", 197e12, 197e12),
    (r"^TPU v5p?$", "bfloat16", 459e12, 459e12),
    (r"^TPU v6( lite|e)$", "bfloat16", 918e12, 918e12),
    (r"^TPU7x$", "bfloat16", 1153.5e12, 1153.5e12),
)


def peak_flops(device_kind: str, dtype: Any = "bfloat16") -> float | None:
    """The most operations a second that one device can do on dense matrices of `dtype`; None where that is not known.

    Args:
      device_kind: `jax.Device.device_kind`, as "NVIDIA H100 80GB HBM3" or "TPU v4". A MIG slice of a GPU is not known.
      dtype: float32, bfloat16 or float16, as a name or a type; others are not known.
    """
    name = jnp.dtype(dtype).name
    if "MIG" in device_kind:
        return None
    for pattern, half, half_peak, single_peak in _PEAKS:
        if re.search(pattern, device_kind):
            if name == "float32":
                return single_peak
            return half_peak if name in ("bfloat16", "float16") and half in (name, "both") else None
    return None
