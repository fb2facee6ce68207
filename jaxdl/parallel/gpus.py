"""What XLA has to know of a GPU to compile for it where there is none."""

from dataclasses import dataclass


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
