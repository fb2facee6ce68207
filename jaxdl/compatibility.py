"""Differences between the supported versions of JAX (0.10 to 0.12).

Every access to something that was renamed or removed between these versions goes through this module, and
`tests/test_compatibility.py` tests each of them:

- XLA aborts the process at an unknown flag, and flags come and go with jaxlib: `accepted_xla_flags`.
- No public function returns whether this machine has a TPU: `without_tpu` (`jax._src`).
- No public function returns whether JAX has initialized its backends: `backends_initialized` (`jax._src`).
- JAX 0.11 merged `ClosedJaxpr` into `Jaxpr`: `inner_jaxprs`.
- JAX 0.11 replaced the parameters `num_consts` and `num_carry` of `lax.scan` by the tree `ft_in`: `scan_arguments`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.home import expanded

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr

_PROBE_SECONDS = 120


def accepted_xla_flags(
    flags: Sequence[str], cache_dir: str | os.PathLike[str] = "~/.cache/jaxdl/xla_flags"
) -> list[str]:
    """Selects the XLA flags that the installed jaxlib accepts.

    XLA aborts at an unknown flag, so flags are tried in a subprocess (about 0.6 s). The answers are cached on disk,
    separately for each version of jaxlib.

    Args:
      flags: Flags as written in `XLA_FLAGS`, such as "--xla_gpu_deterministic_ops=true".
      cache_dir: Folder of the cached answers. If it is not writable, the flags are probed in every process.

    Returns:
      The accepted flags, in the given order.
    """
    answers = _answers(flags, cache_dir)
    return [flag for flag in flags if answers.get(flag)]


def unknown_xla_flags(
    flags: Sequence[str], cache_dir: str | os.PathLike[str] = "~/.cache/jaxdl/xla_flags"
) -> list[str]:
    """Selects the XLA flags at which the installed jaxlib would abort. Args as `accepted_xla_flags`."""
    answers = _answers(flags, cache_dir)
    return [flag for flag in flags if answers.get(flag) is False]


def accepted_libtpu_flags(
    flags: Sequence[str], cache_dir: str | os.PathLike[str] = "~/.cache/jaxdl/xla_flags"
) -> list[str]:
    """Selects the flags for LIBTPU_INIT_ARGS that the installed libtpu accepts; none if it is not installed.

    Args as `accepted_xla_flags`.
    """
    try:
        package = f"libtpu-{version('libtpu')}"
    except PackageNotFoundError:
        return []
    answers = _answers(flags, cache_dir, package, _LIBTPU_PROBE, "LIBTPU_INIT_ARGS")
    return [flag for flag in flags if answers.get(flag)]


# Compiles nothing and uses no TPU.
_LIBTPU_PROBE = """
from jaxdl.distributed.libtpu import configure_libtpu
configure_libtpu()
from jax.experimental import topologies
topologies.get_topology_desc("v5e:2x2", platform="tpu")
"""
_XLA_PROBE = "import jax; jax.devices()"


def _answers(
    flags: Sequence[str],
    cache_dir: str | os.PathLike[str],
    package: str = "",
    probe: str = _XLA_PROBE,
    variable: str = "XLA_FLAGS",
) -> dict[str, bool]:
    """Returns whether a package, by default jaxlib, accepts each flag, without those whose probe failed otherwise."""
    path = expanded(cache_dir) / f"{package or 'jaxlib-' + version('jaxlib')}.json"
    answers = _read(path)
    missing = [flag for flag in flags if flag not in answers]
    if missing:
        together = _accepts(missing, probe, variable)
        probed = {flag: together or _accepts([flag], probe, variable) for flag in missing}
        answers |= {flag: answer for flag, answer in probed.items() if answer is not None}
        _write(path, answers)
    return answers


def without_tpu() -> bool:
    """Returns whether JAX finds no TPU in this machine and therefore does not set up libtpu."""
    from jax._src import hardware_utils

    return "JAX_FORCE_TPU_INIT" not in os.environ and not hardware_utils.num_available_tpu_chips_and_device_id()[0]


def backends_initialized() -> bool:
    """Returns whether JAX has initialized a backend, after which XLA flags have no effect."""
    from jax._src import xla_bridge

    return bool(xla_bridge.backends_are_initialized())


def _accepts(flags: Sequence[str], code: str, variable: str) -> bool | None:
    """Whether XLA starts with `flags`, or None if the probe failed for another reason."""
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", code],  # -P: not a jax.py of the working folder
            env={**os.environ, "JAX_PLATFORMS": "cpu", variable: " ".join(flags)},
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if probe.returncode == 0:
        return True
    refusals = ("Unknown flag", "Unknown command line flag", "Could not open file")
    return False if any(text in probe.stderr for text in refusals) else None


def _read(path: Path) -> dict[str, bool]:
    try:
        answers = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _write(path: Path, answers: Mapping[str, bool]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(answers, file, indent=1)
        os.replace(file.name, path)
    except OSError:  # a read-only home: the next process probes again
        return


def inner_jaxprs(params: Mapping[str, Any]) -> Iterator["Jaxpr"]:
    """Yields the jaxprs among the parameters of an equation, without their constants."""
    from jax.extend.core import Jaxpr

    for value in params.values():
        inner = getattr(value, "jaxpr", value)
        if isinstance(inner, Jaxpr):
            yield inner


def scan_arguments(params: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many inputs of a `scan` equation are constants and how many are carried.

    The inputs are ordered: constants, carry, scanned arrays.
    """
    if "num_consts" in params:  # JAX 0.10
        return params["num_consts"], params["num_carry"]
    constants, carry, _ = params["ft_in"].unpack()
    return len(constants), len(carry)
