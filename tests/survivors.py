"""Processes with runs of tests/survivor.py, for tests that kill them."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from jaxdl.training.meters import CLOCKED

ROOT = Path(__file__).parents[1]


def launch(workdir: Path | str, *flags: str, largest_file: int | None = None) -> subprocess.Popen:
    """Starts launch.py on survivor.py; its files are limited to `largest_file` bytes."""

    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "launch.py", "--config=tests/survivor.py", f"--workdir={workdir}", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if largest_file is not None:  # it takes seconds until its first file
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest_file, largest_file))
    return process


def newest_step(workdir: Path) -> int:
    """Returns the step of the last complete line of metrics.jsonl, 0 before the first."""
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    while newest_step(workdir) < step and process.poll() is None:
        time.sleep(0.002)


def lines(workdir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in CLOCKED} for row in rows]


def result(workdir: Path) -> dict:
    return json.loads((workdir / "result.json").read_text())
