"""Environment variables of libtpu, the compiler and runtime of TPUs."""

import os

# Without these, libtpu queries Google Cloud's metadata server for the type of the machine, prints warnings where it
# finds none, and is loaded by one process at a time only.
_DEFAULTS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def configure_libtpu() -> None:
    """Configures libtpu to compile without a TPU, before it is loaded; variables that are set stay."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
