"""Eight virtual CPU devices for every test, and a persistent compile cache."""

import gc
import os
import tempfile
from pathlib import Path

import costs
import pytest
import tiers

from jaxdl.compatibility import accepted_xla_flags
from jaxdl.runs.environment import ORDERED_COLLECTIVES

# Environment variables are inherited by the processes that tests start.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"jaxdl-test-cache-{os.getuid()}")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Names and source lines of operations are for profiles and errors of the compiler; without them tracing is faster.
os.environ.setdefault("FLAX_PROFILE", "0")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Collectives block threads of XLA's pool. With 8 threads for 8 devices two concurrent collectives can deadlock: each
# waits for a device whose threads the other one holds.
os.environ.setdefault("NPROC", "32")
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    # The tests check XLA programs, not their optimization by LLVM; without it they take half the time. Eight devices
    # share at most two cores with other tests, so a collective may wait long for the last device.
    flags = [
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_collective_call_terminate_timeout_seconds=400",
        ORDERED_COLLECTIVES,
        "--xla_cpu_collective_call_warn_stuck_timeout_seconds=100",
    ]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *accepted_xla_flags(flags)]).strip()

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# JAX keeps millions of objects. With the default threshold the garbage collector scans them for 9% of the CPU time of a
# ViT's laws; this one collects young objects, so that memory does not grow.
gc.set_threshold(100_000, 50, 100)


@pytest.hookimpl(tryfirst=True)  # before the selection by -m
def pytest_collection_modifyitems(items):
    tiers.mark(items, os.path.dirname(__file__))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    with costs.measured(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with costs.measured(item):
        return (yield)


def pytest_terminal_summary(terminalreporter):
    outcomes = ("passed", "failed", "skipped")
    reports = [report for outcome in outcomes for report in terminalreporter.getreports(outcome)]
    terminalreporter.section("CPU seconds of the tests")
    terminalreporter.write_line("\n".join(costs.summary(report for report in reports if report.when == "call")))


_MAPPINGS = 30_000


@pytest.fixture(autouse=True)
def _few_programs():
    """Drops compiled programs before a process exceeds the limit of memory mappings.

    Linux allows 65,530; XLA crashes beyond them.
    """
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > _MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _own_config_home(tmp_path_factory):
    """Isolates the tests from the user's trusted code. Runs of a module's fixture are opened by several tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True)
def _own_data_home(tmp_path, monkeypatch):
    """Isolates the tests from the user's data sets."""
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "data"))
