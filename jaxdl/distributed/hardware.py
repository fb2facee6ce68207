"""Table of accelerators by their data sheets, and topologies for ahead-of-time compilation."""

import functools
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging

from jaxdl.distributed.libtpu import configure_libtpu
from jaxdl.errors import UserError, install, nearest


@dataclass(frozen=True)
class GpuTarget:
    """Properties of a GPU that XLA needs to compile for it ahead of time, as CUDA reports them.

    Attributes:
      capability: CUDA compute capability, (major, minor).
      processors: Streaming multiprocessors.
      lanes: float32 units per multiprocessor.
      clock: Clock rate, GHz.
      cache: Level-2 cache, bytes.
      shared: Shared memory per multiprocessor, bytes.
    """

    capability: tuple[int, int]
    processors: int
    lanes: int
    clock: float
    cache: int
    shared: int


@dataclass(frozen=True)
class Hardware:
    """One JAX device by its data sheet. None: not published, or different in products of one device kind.

    Attributes:
      name: Name in `--topology`.
      platform: JAX platform.
      flops: Peak FLOP/s of dense bfloat16 matrix products.
      memory: Device memory, bytes.
      bandwidth: Memory bandwidth, bytes/s.
      links: Bandwidth to other devices over all links, one way, bytes/s.
      float16: Peak FLOP/s of dense float16 matrix products.
      float32: Peak FLOP/s of float32 matrix products at JAX's default precision: TF32 on NVIDIA GPUs since Ampere, one
        bfloat16 pass on TPUs.
      kind: Regular expression that `jax.Device.device_kind` matches.
      target: Description for XLA. None: `plan` cannot compile for a GPU of this kind.
    """

    name: str
    platform: str
    flops: float | None = None
    memory: float | None = None
    bandwidth: float | None = None
    links: float | None = None
    float16: float | None = None
    float32: float | None = None
    kind: str | None = None
    target: GpuTarget | None = None


_GB, _GIB, _T = 1e9, 2**30, 1e12
_A100 = GpuTarget((8, 0), 108, 64, 1.41, 40 * 2**20, 164 * 1024)
_H100 = GpuTarget((9, 0), 132, 128, 1.98, 50 * 2**20, 228 * 1024)


def _tpu_chip(name: str, kind: str, flops: float, *sizes: float | None) -> Hardware:
    memory, bandwidth, links = sizes
    return Hardware(name, "tpu", flops * _T, memory, bandwidth, links, None, flops * _T, kind)


def _gpu_card(
    name: str, kind: str, half: float, single: float, *sizes: float | None, target: GpuTarget | None = None
) -> Hardware:
    memory, bandwidth, links = sizes
    platform = "rocm" if name.startswith("mi") else "cuda"
    return Hardware(name, platform, half * _T, memory, bandwidth, links, half * _T, single * _T, kind, target)


# Sources: NVIDIA's data sheets of each product, of DGX B200 (B200) and of GB200 NVL72 (GB200), divided by the number of
# GPUs; the white papers of the Ada and Blackwell GeForce GPUs, with float32 accumulation; AMD's data sheet of Instinct
# MI300X, whose float32 is that of FP32 matrices; Google Cloud's TPU pages. NVIDIA's figures with sparsity, twice as
# high, are halved. TPU v2, v3 and 7x have two JAX devices per chip, so these rows have half the chip's figures. The
# memory of A100, H100 and H200 is the number of bytes that CUDA reports. The first row whose `kind` matches counts.
HARDWARE = {
    row.name: row
    for row in (
        Hardware("cpu", "cpu"),
        _tpu_chip("v2", r"^TPU v2$", 22.5, 8 * _GIB, 350 * _GB, None),
        _tpu_chip("v3", r"^TPU v3$", 61.5, 16 * _GIB, 450 * _GB, None),
        _tpu_chip("v4", r"^TPU v4$", 275, 32 * _GIB, 1200 * _GB, 300 * _GB),
        _tpu_chip("v5e", r"^TPU v5( lite|e)$", 197, 16 * _GIB, 819 * _GB, 200 * _GB),
        _tpu_chip("v5p", r"^TPU v5p?$", 459, 95 * _GIB, 2765 * _GB, 600 * _GB),
        _tpu_chip("v6e", r"^TPU v6( lite|e)$", 918, 32 * _GIB, 1640 * _GB, 400 * _GB),
        _tpu_chip("v7x", r"^TPU7x$", 1153.5, None, None, None),
        Hardware(  # bfloat16 is emulated
            "v100-pcie", "cuda", None, None, 900 * _GB, None, 112 * _T, 14 * _T, r"\bV100-PCIE\b"
        ),
        Hardware("v100", "cuda", None, None, 900 * _GB, 150 * _GB, 125 * _T, 15.7 * _T, r"\bV100\b"),
        _gpu_card("a100", r"\bA100\b", 312, 156, 85_100_068_864, 2039.04 * _GB, 300 * _GB, target=_A100),
        _gpu_card("l4", r"\bL4$", 121, 60, 24 * _GB, 300 * _GB, None),
        _gpu_card("l40s", r"\bL40S$", 362, 183, 48 * _GB, 864 * _GB, None),
        _gpu_card("rtx4090", r"\bRTX 4090$", 165.2, 82.6, 24 * _GB, 1008 * _GB, None),
        _gpu_card("rtx5090", r"\bRTX 5090$", 209.5, 104.8, 32 * _GB, 1792 * _GB, None),
        _gpu_card("h100-pcie", r"\bH100 PCIe\b", 756, 378, 80 * _GB, 2000 * _GB, None),
        _gpu_card("h100-nvl", r"\bH100 NVL\b", 835, 417, 94 * _GB, 3900 * _GB, 300 * _GB),
        _gpu_card("h200-nvl", r"\bH200 NVL\b", 835, 417, 141 * _GB, 4800 * _GB, 450 * _GB),
        _gpu_card("h100", r"\bH100\b", 989, 494, 84_942_979_072, 3352.32 * _GB, 450 * _GB, target=_H100),
        _gpu_card("h200", r"\bH200\b", 989, 494, 151_397_597_184, 4800 * _GB, 450 * _GB, target=_H100),
        _gpu_card("gh200", r"\bGH200\b", 989, 494, None, None, 450 * _GB),
        _gpu_card("b200", r"\bB200\b", 2250, 1125, 180 * _GB, 8000 * _GB, 900 * _GB),
        _gpu_card("gb200", r"\bGB200\b", 2500, 1250, 186 * _GB, 8000 * _GB, 900 * _GB),
        _gpu_card("mi300x", r"\bMI300X\b", 1307.4, 163.4, 192 * _GB, 5325 * _GB, 448 * _GB),
    )
}
_TPU_TOPOLOGIES = ("v5e", "v5p", "v6e")


def description(hardware: Hardware, target: GpuTarget) -> str:
    """Returns XLA's `GpuTargetConfigProto` of a GPU as text."""
    assert hardware.memory is not None
    assert hardware.bandwidth is not None
    properties = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "threads_per_core_limit": 2048,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_block_optin": target.shared - 1024,  # CUDA reserves 1 KB of it
        "shared_memory_per_core": target.shared,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "core_count": target.processors,
        "fpus_per_core": target.lanes,
        "clock_rate_ghz": target.clock,
        "device_memory_size": int(hardware.memory),
        "memory_bandwidth": round(hardware.bandwidth),
        "l2_cache_size": target.cache,
    }
    lines = "\n".join(f"  {key}: {value}" for key, value in properties.items())
    major, minor = target.capability
    capability = f"  cuda_compute_capability {{ major: {major} minor: {minor} }}"
    return (
        f"gpu_device_info {{\n{lines}\n{capability}\n}}\n"
        f'platform_name: "CUDA"\ndnn_version_info {{ major: 9 minor: 10 }}\n'
        f'device_description_str: "{hardware.name}"\n'
    )


_FORM = re.compile(r"([a-z0-9]+):(\d+(?:x\d+)*)")


def target(text: str) -> tuple[Hardware, Sequence[Any]]:
    """Returns the hardware and the devices of a topology.

    Args:
      text: Topology such as "cpu:8", "v5e:16x16" or "h100:1x8" (machines x GPUs).

    Raises:
      UserError: Another form, unknown hardware, no target description, or a compiler that is not installed.
    """
    form = _FORM.fullmatch(text)
    if not form:
        raise UserError(f"--topology={text} is not of the form KIND:SHAPE, such as v5e:16x16, h100:1x8 or cpu:8")
    name, shape = form[1], form[2]
    compiled = [row.name for row in HARDWARE.values() if row.target or row.name in ("cpu", *_TPU_TOPOLOGIES)]
    if name not in HARDWARE:
        raise UserError(f"--topology={text}: '{name}' is unknown; {nearest(name, compiled)}")
    if name not in compiled:
        raise UserError(f"--topology={text}: no target description of '{name}' for XLA; use {', '.join(compiled)}")
    hardware = HARDWARE[name]
    return hardware, {"cpu": _cpu, "tpu": _tpu, "cuda": _cuda}[hardware.platform](text, shape)


def _cpu(text: str, shape: str) -> Sequence[Any]:
    if not shape.isdecimal():
        raise UserError(f"--topology={text}: CPUs have no shape; write cpu:8")
    devices = jax.devices("cpu")
    if len(devices) != int(shape):
        raise UserError(f"--topology={text} differs from the {len(devices)} CPU devices; add --cpu_devices={shape}")
    return devices


def _tpu(text: str, shape: str) -> Sequence[Any]:
    from jax.experimental import topologies

    configure_libtpu()
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=text).devices
    except Exception as error:
        raise _cannot(text, error, package="libtpu", extra="tpu") from None


def _cuda(text: str, shape: str) -> Sequence[Any]:
    from jax.experimental import topologies

    machines, _, gpus = shape.rpartition("x")
    name, sides = text.partition(":")[0], f"1x{machines or 1}x{gpus}"
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # compiling needs no driver
    hardware = HARDWARE[name]
    assert hardware.target is not None
    try:
        config = description(hardware, hardware.target)
        return topologies.get_topology_desc(name, platform="cuda", target_config=config, topology=sides).devices
    except Exception as error:
        raise _cannot(text, error, package="jax-cuda13-plugin", extra="cuda") from None


def _cannot(text: str, error: Exception, package: str, extra: str) -> UserError:
    """Returns the error that names the missing compiler or, if it is installed, its message."""
    try:
        version(package)
    except PackageNotFoundError:
        return UserError(f"--topology={text} needs {package}, the compiler for it: {install(extra)}")
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return UserError(f"--topology={text} cannot be compiled for: {reason}; give another topology")


def peak_flops(device_kind: str, dtype: Any = "bfloat16") -> float | None:
    """Returns the peak FLOP/s of dense matrix products on one device, None if it is not in the table.

    Args:
      device_kind: `jax.Device.device_kind`, such as "NVIDIA H100 80GB HBM3" or "TPU v4". None for MIG slices of a GPU.
      dtype: float32, bfloat16 or float16, by name or type. None for other types.
    """
    if "MIG" in device_kind:
        return None
    rows = (row for row in HARDWARE.values() if row.kind and re.search(row.kind, device_kind))
    row = next(rows, None)
    if row is None:
        return None
    return {"bfloat16": row.flops, "float16": row.float16, "float32": row.float32}.get(jnp.dtype(dtype).name)


@functools.cache
def matrix_gflops() -> float | None:
    """Measures GFLOP/s of a float32 matrix product on one device, once per process.

    The best of up to seven products within 0.1 s. The matrices are 1024 x 1024 on CPUs and 4096 x 4096 on accelerators,
    which smaller ones do not fill. None if the product fails, for instance because the memory is full: the figure is
    auxiliary.
    """
    size = 1024 if jax.default_backend() == "cpu" else 4096
    product = jax.jit(functools.partial(jnp.matmul, precision="highest"))
    seconds: list[float] = []
    try:
        matrix = jnp.ones((size, size))
        product(matrix, matrix).block_until_ready()
        while len(seconds) < 7 and sum(seconds) < 0.1:
            start = time.perf_counter()
            product(matrix, matrix).block_until_ready()
            seconds.append(time.perf_counter() - start)
    except jax.errors.JaxRuntimeError as error:
        logging.warning("GFLOP/s of this machine are not measured: %s", " ".join(str(error).split())[:200])
        return None
    return 2e-9 * size**3 / min(seconds)
