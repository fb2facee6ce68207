"""Distributed runs: one program over the devices of several processes (JAX's multi-controller runtime).

Each process runs the same command. JAX detects its number, the number of processes and the coordinator on SLURM,
Kubernetes, Open MPI and TPU pods; elsewhere flags define them.

A process that loses another one may hang while it closes its files, or JAX's runtime may abort it without a Python
exception. Therefore each process has a watchdog process (`jaxdl.distributed.watchdog`), which prints the cause and
returns the exit code. This module imports jax lazily, since the watchdog does not need it.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from jaxdl.errors import UserError

HEARTBEAT = 30  # default seconds without a heartbeat after which a process is considered lost
WATCHED = "JAXDL_WATCHED"  # file descriptor through which a process sends its checkpoint folder to its watchdog
LOST = 134  # exit code after the loss of another process: a shell's code for SIGABRT, with which the runtime aborts


@dataclass(frozen=True)
class Place:
    """Position of this process in a distributed run; None where JAX detects it.

    Attributes:
      count: Number of processes.
      number: Number of this process, from 0.
      coordinator: "HOST:PORT" of process 0.
      heartbeat: Seconds without a heartbeat after which a process is considered lost.
    """

    count: int | None = None
    number: int | None = None
    coordinator: str | None = None
    heartbeat: int = HEARTBEAT

    @property
    def given(self) -> bool:
        return (self.count, self.number, self.coordinator) != (None, None, None)

    @property
    def several(self) -> bool:
        """Whether this process is one of several."""
        return self.count != 1 if self.given else _launched_by_a_cluster(os.environ)


def initialize(place: Place = Place()) -> None:
    """Joins the other processes of a distributed run, before any device is used.

    Raises:
      UserError: One of the three flags is missing or out of range, or other processes did not join.
    """
    if not place.several:
        return
    options = {}
    if place.given:
        if place.count is None or place.number is None or place.coordinator is None:
            raise UserError("--processes, --process and --coordinator=HOST:PORT require each other; pass all three")
        if not 0 <= place.number < place.count:
            raise UserError(
                f"--process={place.number} of --processes={place.count}: must be from 0 to {place.count - 1}"
            )
        host, colon, port = place.coordinator.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise UserError(f"--coordinator={place.coordinator}: write HOST:PORT of process 0, such as 10.0.0.1:9000")
        options = {
            "coordinator_address": place.coordinator,
            "num_processes": place.count,
            "process_id": place.number,
        }
        if host in ("127.0.0.1", "localhost"):
            options["coordinator_bind_address"] = f"127.0.0.1:{port}"
    import jax

    seconds = place.heartbeat
    try:
        jax.distributed.initialize(**options, heartbeat_timeout_seconds=seconds, shutdown_timeout_seconds=seconds)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the processes of this run did not connect ({reason}); start all of them") from None


def is_first() -> bool:
    """Returns whether this process writes files and prints progress."""
    import jax

    return jax.process_index() == 0


def begun(checkpoints: str | os.PathLike, step: int) -> None:
    """Sends the checkpoint folder and the first step to the watchdog, if there is one."""
    if WATCHED in os.environ:
        with suppress(BrokenPipeError):  # the watchdog was killed
            os.write(int(os.environ[WATCHED]), f"{step} {os.path.abspath(checkpoints)}".encode())


def lost(error: BaseException | None) -> bool:
    """Returns whether an error, or its cause, is the loss of another process in a distributed computation.

    Errors that a computation raises without other processes (out of memory, compilation) are excluded.
    """
    import jax

    own = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")
    if isinstance(error, jax.errors.JaxRuntimeError):
        return jax.process_count() > 1 and not str(error).startswith(own)
    return error is not None and lost(error.__cause__)


@contextmanager
def together() -> Iterator[None]:
    """Ends the process immediately if a computation inside fails because another process is lost.

    An orderly exit would wait for the other process. Without a watchdog, the error is raised.
    """
    try:
        yield
    except Exception as error:
        if WATCHED not in os.environ or not lost(error):
            raise
        print(f"error of the runtime: {' '.join(str(error).split())[:200]}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(LOST)


def _launched_by_a_cluster(environment: Mapping[str, str]) -> bool:
    """Returns whether a cluster that JAX detects has started this process as one of several."""
    counts = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    if environment.get("SLURM_STEP_ID") is None and "OMPI_COMM_WORLD_SIZE" not in environment:
        counts = ()  # a shell in an allocation is not one of its tasks
    several = any(environment.get(name, "1").isdecimal() and int(environment.get(name, "1")) > 1 for name in counts)
    pods = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "").count(",") > 0 or "MEGASCALE_COORDINATOR_ADDRESS" in environment
    return several or pods or hosts
