"""Eight virtual CPU devices for every test, and a compile cache that lasts over tests and runs."""

import os
import tempfile

import jax
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), f"jaxdl-test-cache-{os.getuid()}"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(autouse=True)
def _own_data_home(tmp_path, monkeypatch):
    """No test reads or writes the user's data sets."""
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "data"))
