"""S3 server on this machine (moto), for tests of object stores.

moto is not part of the test extra: its boto3 and s3fs' aiobotocore need different versions of botocore, and pip takes
minutes to find some that fit. `JAXDL_MOTO` is the Python of another environment with `moto[server]`.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "bucket"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Starts a server with an empty bucket; yields the environment variables with which its clients reach it."""
    python = os.environ.get("JAXDL_MOTO") or (sys.executable if importlib.util.find_spec("moto") else None)
    if python is None:
        pytest.skip("there is no S3 server: pip install 'moto[server]', or set JAXDL_MOTO")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **keys}
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the S3 server does not start")


def client():
    """Returns the file system of the server in the environment variables."""
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)


def environ(variables: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **variables}
