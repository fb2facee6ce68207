"""NVIDIA GPUs of this machine."""

import os
from pathlib import Path

_GPUS = Path("/proc/driver/nvidia/gpus")


def visible_gpus() -> list[str]:
    """Lists the NVIDIA GPUs as in CUDA_VISIBLE_DEVICES, without initializing them; [] if JAX uses the CPU."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return [str(number) for number in range(len(list(_GPUS.iterdir())))] if _GPUS.is_dir() else []
