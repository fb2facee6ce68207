"""XLA flags that are recommended for the hardware of this machine.

They change the order of operations and the overlap of communication with computation, so the manifest of a run has the
flags that it was trained with. Flags in the environment are kept.
"""

from collections.abc import Sequence

from jaxdl.distributed.gpus import visible_gpus

# Moves collectives so that they overlap with computation: JAX's "GPU performance tips", and NVIDIA's JAX images. On one
# GPU there are none.
_GPUS = ("--xla_gpu_enable_latency_hiding_scheduler=true",)
# Asynchronous collectives, fused with computation: MaxText's recipes (github.com/AI-Hypercomputer/maxtext) and Google's
# Pathways. Accepted by libtpu 0.0.52.
_TPUS = (
    "--xla_tpu_enable_data_parallel_all_reduce_opt=true",
    "--xla_tpu_data_parallel_opt_different_sized_ops=true",
    "--xla_tpu_enable_async_collective_fusion=true",
    "--xla_tpu_enable_async_collective_fusion_fuse_all_gather=true",
    "--xla_tpu_enable_async_collective_fusion_multiple_steps=true",
    "--xla_tpu_overlap_compute_collective_tc=true",
    "--xla_enable_async_all_gather=true",
)


def for_gpus(several: bool = False) -> tuple[str, ...]:
    """Returns flags for XLA_FLAGS: none without GPUs, or with one GPU in a run of one process.

    Args:
      several: Whether the run has several processes.
    """
    gpus = len(visible_gpus())
    return _GPUS if gpus > 1 or (gpus and several) else ()


def for_tpus() -> tuple[str, ...]:
    """Returns flags for LIBTPU_INIT_ARGS."""
    return _TPUS


def absent(flags: Sequence[str], present: str) -> list[str]:
    """Returns the flags whose names are not in the value of an environment variable."""
    names = {word.partition("=")[0] for word in present.split()}
    return [flag for flag in flags if flag.partition("=")[0] not in names]
