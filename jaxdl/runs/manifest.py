"""Provenance of a run and its attempts, manifest.json.

The top level describes the first attempt: command, code, recipe, packages, devices, data. Each attempt has `start`,
`end` (UTC), `first_step`, `last_step` and `exit` (the exit code of the command, or "killed"), and under `changed` the
entries that differ from the first attempt: commit, devices, flags.
"""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jaxdl.runs.files import to_json
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.git import GitError, git

_PACKAGES = ("jaxdl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets")
_PACKAGES += ("array_record", "numpy", "fiddle")


def start_manifest(folder: RunFolder, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Begins an attempt: creates manifest.json, or appends to it.

    It must be called before `RunFolder.rewind`: an earlier attempt without an end was killed, and ends with the time
    and step of its last metrics.

    Args:
      folder: Run folder. A process that does not write leaves it unchanged.
      provenance: JSON values by name: command, recipe, overrides, seed, config_fingerprint, datasets, absent_settings,
        and modules, the digests of `jaxdl.runs.code`. Commit, packages and devices are added.

    Returns:
      The manifest.
    """
    folder.attempt_start = time.monotonic()
    environment = {"code": code_version(), "packages": package_versions(), "devices": describe_devices()}
    provenance = json.loads(to_json({**provenance, **environment}))  # comparable to a manifest read from disk
    attempt: dict[str, Any] = {"start": _now(), "end": None, "first_step": None, "last_step": None, "exit": None}
    if not folder.writes:
        return {**provenance, "attempts": [attempt]}
    if not (folder.path / "manifest.json").exists():
        return _save(folder, {**provenance, "attempts": [attempt]})
    manifest = folder.manifest()
    _end_killed(folder, manifest)
    changed = {name: value for name, value in provenance.items() if manifest.get(name) != value}
    if changed:
        attempt["changed"] = changed
    manifest["attempts"].append(attempt)
    return _save(folder, manifest)


def end_killed(folder: RunFolder) -> None:
    """Ends the attempts that were killed; the last one may have finished the run before."""
    manifest = folder.manifest()
    if folder.writes and _end_killed(folder, manifest):
        _save(folder, manifest)


def _end_killed(folder: RunFolder, manifest: Mapping[str, Any]) -> bool:
    killed = [attempt for attempt in manifest["attempts"] if attempt["end"] is None]
    for attempt in killed:
        attempt.update(end=killed_at(folder, attempt), exit="killed")
        if attempt["first_step"] is not None:
            steps = (row["step"] for row in folder.rows())
            attempt["last_step"] = max((step for step in steps if step > attempt["first_step"]), default=None)
    return bool(killed)


def end_attempt(folder: RunFolder, *, exit: int, last_step: int | None = None) -> None:
    """Ends the current attempt with the exit code of the process; its duration is that of a monotonic clock."""
    if folder.writes:
        manifest = folder.manifest()
        attempt = manifest["attempts"][-1]
        end = datetime.fromisoformat(attempt["start"]) + timedelta(seconds=time.monotonic() - folder.attempt_start)
        attempt.update(end=_iso(end), last_step=last_step, exit=exit)
        _save(folder, manifest)


def mixed(manifest: Mapping[str, Any]) -> list[str]:
    """Lists "configuration", "code" and "data" if attempts that led to the result differ in them."""
    trained = [attempt for attempt in manifest["attempts"] if attempt.get("first_step") is not None]
    starts = [number for number, attempt in enumerate(trained) if attempt["first_step"] == 0]
    trained = trained[max(starts, default=0) :]
    words = {"config_fingerprint": "configuration", "modules": "code", "datasets": "data"}
    values = {name: [attempt.get("changed", {}).get(name, manifest.get(name)) for attempt in trained] for name in words}
    values["datasets"] = [{role: data["fingerprint"] for role, data in (v or {}).items()} for v in values["datasets"]]
    return [word for name, word in words.items() if any(value != values[name][0] for value in values[name])]


def changes(then: Mapping[str, str] | None, now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Returns (module, digest then, digest now) of the modules that differ, with digests of eight digits.

    Args:
      then: `jaxdl.runs.code.digests` in the manifest of a run. None: an older manifest, without them.
      now: `digests` of another run, or of today.
    """
    if then is None:
        return []
    rows = [(name, then.get(name, "absent")[:8], now.get(name, "absent")[:8]) for name in sorted({*then, *now})]
    return [row for row in rows if row[1] != row[2]]


def changed_modules(folder: RunFolder, modules: Mapping[str, str]) -> list[str]:
    """Lists the modules outside jaxdl that differ from those of a run's latest attempt, with both digests."""
    if not (folder.path / "manifest.json").exists():
        return []
    rows = changes(latest(folder.manifest(), "modules"), modules)
    return [f"{name} (then {before}, now {after})" for name, before, after in rows if name != "jaxdl"]


def killed_at(folder: RunFolder, attempt: Mapping[str, Any]) -> str:
    """Returns the end of a killed attempt: the time of its last metrics, or its start without any.

    A time in the future, from a clock that was wrong, counts as the present.
    """
    metrics = folder.path / "metrics.jsonl"
    wrote = _iso(datetime.fromtimestamp(metrics.stat().st_mtime, UTC)) if metrics.exists() else ""
    return max(min(wrote, _now()), attempt["start"])


def latest(manifest: Mapping[str, Any], name: str) -> Any:
    """Returns a top-level entry of the manifest, such as "datasets" or "code", for the latest attempt."""
    return manifest["attempts"][-1].get("changed", {}).get(name, manifest.get(name))


def wall_seconds(attempts: Iterable[Mapping[str, Any]]) -> float:
    """Returns the wall time of a run, the sum of (end - start); an attempt without an end counts until now.

    An attempt that ends before its start, by a clock that was set back, counts 0. Goodput is the share of the wall time
    that was spent in training steps which led to the final state.
    """
    wall = 0.0
    for attempt in attempts:
        start = datetime.fromisoformat(attempt["start"])
        end = datetime.fromisoformat(attempt["end"]) if attempt["end"] else datetime.now(UTC)
        wall += max(0.0, (end - start).total_seconds())
    return wall


def code_version(file: str | os.PathLike = __file__) -> dict[str, Any]:
    """Returns {"commit", "dirty"} of the git repository that tracks `file`, both None without one.

    A working tree is dirty if a tracked file has changes, or a Python file is neither tracked nor ignored.
    """
    here = Path(file).resolve()
    top = _git(here.parent, "rev-parse", "--show-toplevel")
    if top is None or not _git(here.parent, "ls-files", "--", here.name):
        return {"commit": None, "dirty": None}  # installed in an environment inside another repository
    root = Path(top)
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "--", "*.py")
    dirty = None if changed is None or untracked is None else bool(changed or untracked)
    return {"commit": _git(root, "rev-parse", "--verify", "HEAD"), "dirty": dirty}


def package_versions() -> dict[str, str | None]:
    """Returns the versions of Python and of the packages that results depend on, None if not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def describe_devices() -> dict[str, Any]:
    """Describes the devices and the settings that change results, without names of hosts or users."""
    import jax  # here, since other commands read manifests without JAX

    from jaxdl.runs.environment import compiler_flags

    devices = jax.devices()
    settings: Any = jax.config
    kinds = sorted({device.device_kind for device in devices})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": devices[0].platform,
        "kind": _processor() if devices[0].platform == "cpu" else ", ".join(kinds),
        "count": len(devices),
        "processes": jax.process_count(),
        "cpu_cores": cores,
        **compiler_flags(),
        "jax_default_matmul_precision": settings.jax_default_matmul_precision,
        "jax_enable_x64": settings.jax_enable_x64,
        "jax_default_prng_impl": settings.jax_default_prng_impl,
        "jax_threefry_partitionable": settings.jax_threefry_partitionable,
    }


def _processor() -> str:
    """Returns the CPU model, on which the last bits of results depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        return git(folder, *arguments).strip()
    except GitError:
        return None


def _now() -> str:
    return _iso(datetime.now(UTC))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _save(folder: RunFolder, manifest: dict[str, Any]) -> dict[str, Any]:
    folder.write_manifest(manifest)
    return manifest
