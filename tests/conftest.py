"""Eight virtual CPU devices for every test, and a compile cache that lasts over tests and runs."""

import gc
import os
import tempfile
from pathlib import Path

import pytest

# In the environment, so that the processes that tests start share it.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"jaxdl-test-cache-{os.getuid()}")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# What is tested is what XLA makes of the program, not how well LLVM compiles that, nor how quickly it runs then: tests
# take half the time.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
        " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        # Eight devices share two cores or fewer, beside other tests: the last of them may come late to a collective.
        " --xla_cpu_collective_call_terminate_timeout_seconds=400"
        " --xla_cpu_collective_call_warn_stuck_timeout_seconds=100"
    ).strip()

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
gc.set_threshold(50_000, 20, 50)  # JAX keeps millions of objects, which would be looked through again and again


_MAPPINGS = 30_000


@pytest.fixture(autouse=True)
def _few_programs():
    """Drops compiled programs before a process has as many memory mappings as Linux allows, 65,530: XLA would crash."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > _MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def _own_data_home(tmp_path, monkeypatch):
    """No test reads or writes the user's data sets."""
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "data"))
