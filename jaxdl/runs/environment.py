"""Process-wide settings of JAX, XLA and malloc, which take effect before the first use of a device."""

import ctypes
import os
import signal
import sys
import warnings
from typing import Any

from jaxdl.compatibility import (
    accepted_libtpu_flags,
    accepted_xla_flags,
    backends_initialized,
    unknown_xla_flags,
    without_tpu,
)
from jaxdl.distributed import xla_flags
from jaxdl.distributed.libtpu import configure_libtpu
from jaxdl.distributed.watchdog import PARENT
from jaxdl.errors import UserError
from jaxdl.home import expanded
from jaxdl.signals import restart

# The default scheduler places collectives that do not depend on each other side by side, and virtual devices can wait
# in different ones forever: an LSTM on a mesh of three axes did in 5 of 8 runs (jaxlib 0.10.2), with this in 0 of 28.
ORDERED_COLLECTIVES = "--xla_cpu_enable_concurrency_optimized_scheduler=false"


def end_with_parent() -> None:
    """Requests SIGTERM from the kernel for the end of the sweep or watchdog that started this process."""
    parent = os.environ.get(PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        sys.exit(75)


# Huge pages, and blocks up to 256 MiB from one heap that never shrinks: steps of small models cause no page faults and
# take 0.92 to 0.94 of the time (ConvNet, DCGAN; 2 cores) with 160 MiB more resident memory. Without the limit, steps
# of larger models take 0.95 to 0.97 (detector, DDPM, ViT), but resident memory grows up to 2.5-fold.
_MALLOC = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_threshold": 2**28, "trim_threshold": 2**34, "arena_max": 1}.items()
)


def tune_malloc() -> None:
    """Restarts this process with huge pages and reuse of freed memory, which glibc configures at startup only.

    On Linux CPUs a training step allocates and frees hundreds of megabytes, and page faults add to every step. If
    GLIBC_TUNABLES is set, nothing happens.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _MALLOC
        restart(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def configure(
    cpu_devices: int | None = None, deterministic: bool = True, several: bool = False, tuned: bool = True
) -> None:
    """Configures the compile cache, virtual CPU devices, determinism and XLA, before JAX is initialized.

    The cache is in ~/.cache/jaxdl/xla or JAX_COMPILATION_CACHE_DIR; "" disables it.

    Args:
      cpu_devices: Number of virtual CPU devices. None: the default devices.
      deterministic: Whether GPUs use deterministic kernels only, which are somewhat slower.
      several: Whether the run has several processes.
      tuned: Whether the flags of `jaxdl.distributed.xla_flags` are set. Processes that are started inherit them.

    Raises:
      UserError: Fewer than one device, or an environment variable that XLA or JAX does not accept.
    """
    if cpu_devices is not None and cpu_devices < 1:
        raise UserError(f"--cpu_devices={cpu_devices} must be at least 1")
    if unknown := unknown_xla_flags(os.environ.get("XLA_FLAGS", "").split()):
        raise UserError(f"XLA_FLAGS has {' '.join(unknown)}, which the installed jaxlib does not accept; remove it")
    missing = _missing_flags(deterministic, cpu_devices)
    missing += _missing_gpu_flags(several) if tuned and cpu_devices is None else []
    os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *missing])
    if cpu_devices is not None:
        # Size of XLA's thread pool: with one thread per device, a collective can wait for a device without a thread.
        os.environ.setdefault("NPROC", str(max(4 * cpu_devices, os.cpu_count() or 1)))
    try:
        import jax
    except ValueError as error:  # of an environment variable with an invalid value
        raise UserError(f"JAX does not start: {error}; correct the environment variable") from error
    if without_tpu():
        configure_libtpu()
    elif tuned and cpu_devices is None:
        present = os.environ.get("LIBTPU_INIT_ARGS", "")
        os.environ["LIBTPU_INIT_ARGS"] = " ".join([*present.split(), *_missing_tpu_flags()])
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(expanded("~/.cache/jaxdl/xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if cpu_devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", cpu_devices)


def configure_library() -> list[str]:
    """Applies `configure` in a process that was started by other code, as far as that is still possible.

    XLA reads its flags when it is initialized, glibc its tunables when the process starts. A compile cache that is
    configured already is kept.

    Returns:
      The settings that were not applied, for the manifest.
    """
    import jax

    absent = []
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        absent.append(f"GLIBC_TUNABLES={_MALLOC}")
    if not backends_initialized():
        config: Any = jax.config  # its options are attributes that type checkers do not list
        cache = config.jax_compilation_cache_dir
        configure()
        if cache is not None:
            jax.config.update("jax_compilation_cache_dir", cache)
    elif flags := [
        *_missing_flags(deterministic=True),
        *_missing_gpu_flags(),
        *([] if without_tpu() else _missing_tpu_flags()),
    ]:
        # A location warns once in a process.
        warnings.warn(f"JAX was in use before jaxdl, so XLA runs without {' '.join(flags)}", stacklevel=1)
        absent += flags
    return absent


def _missing_flags(deterministic: bool, cpu_devices: int | None = None) -> list[str]:
    """Returns the XLA flags that jaxdl sets, without those in the environment and those that XLA does not accept."""
    # XNNPACK runs a convolution on one core, XLA's own kernel (Eigen) on all: the Fashion-MNIST step takes half the
    # time (jaxlib 0.10.2, 2 cores).
    wanted = ["--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"]
    wanted += ["--xla_gpu_deterministic_ops=true"] if deterministic else []
    wanted += [ORDERED_COLLECTIVES] if (cpu_devices or 1) > 1 else []
    return accepted_xla_flags(xla_flags.absent(wanted, os.environ.get("XLA_FLAGS", "")))


def _missing_gpu_flags(several: bool = False) -> list[str]:
    """Returns the flags of `xla_flags.for_gpus` that jaxdl sets, as `_missing_flags`."""
    return accepted_xla_flags(xla_flags.absent(xla_flags.for_gpus(several), os.environ.get("XLA_FLAGS", "")))


def _missing_tpu_flags() -> list[str]:
    """Returns the flags for LIBTPU_INIT_ARGS that jaxdl sets on a machine with TPUs, as `_missing_flags`."""
    return accepted_libtpu_flags(xla_flags.absent(xla_flags.for_tpus(), os.environ.get("LIBTPU_INIT_ARGS", "")))


def compiler_flags(planned: bool = False) -> dict[str, str]:
    """Returns the environment variables with flags of XLA: XLA_FLAGS, and on TPUs LIBTPU_INIT_ARGS.

    Args:
      planned: Whether flags that a training on this machine sets are added.
    """
    flags = {name: os.environ.get(name, "").split() for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")}
    if planned:
        flags["XLA_FLAGS"] += _missing_gpu_flags()
        flags["LIBTPU_INIT_ARGS"] += [] if without_tpu() else _missing_tpu_flags()
    return {name: " ".join(values) for name, values in flags.items() if values or name == "XLA_FLAGS"}
