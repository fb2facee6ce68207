"""Runs over several processes: one program, of which every process has some devices (JAX's multi-controller runtime).

Each process runs the same command. Which one it is, how many there are and where they meet, JAX finds out by itself on
SLURM, Kubernetes, Open MPI and TPU pods; elsewhere flags say so.

A process that loses another one cannot go on, nor always find its end by itself: it may wait for the others while it
closes its files, or JAX's runtime aborts it without an exception of Python. So a second process stands beside each,
`jaxdl.distributed.watchdog`, which says what has happened. This module does not import jax before it is needed: the
watching process needs none.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from jaxdl.errors import UserError

HEARTBEAT = 30  # seconds without a sign of life after which a process is taken for lost, by default
WATCHED = "JAXDL_WATCHED"  # the file descriptor by which a process tells the one beside it where its state is saved
LOST = 134  # exit code for the process beside; a shell gives it for SIGABRT, by which the runtime ends a process


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, where that is not found by itself.

    Attributes:
      count: how many there are.
      number: of this one, from 0 on.
      coordinator: "HOST:PORT" of process 0.
      heartbeat: seconds without a sign of life after which a process is taken for lost.
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
    """Joins the other processes, if there are any. Call it before anything touches a device.

    Raises:
      UserError: one of the three flags is missing or out of range, or the others did not come.
    """
    if not place.several:
        return
    options = {}
    if place.given:
        if place.count is None or place.number is None or place.coordinator is None:
            raise UserError("--processes, --process and --coordinator=HOST:PORT belong together; give all three")
        if not 0 <= place.number < place.count:
            raise UserError(
                f"--process={place.number} of --processes={place.count}: must be from 0 to {place.count - 1}"
            )
        host, colon, port = place.coordinator.rpartition(":")
        if not (host and colon and port.isdecimal()):
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
        raise UserError(
            f"the processes of this run did not find each other ({reason}); see that all were started"
        ) from None


def is_first() -> bool:
    """Whether this is the process that writes, and that people see."""
    import jax

    return jax.process_index() == 0


def begun(checkpoints: str | os.PathLike, step: int) -> None:
    """Tells the process beside this one, if there is one, where checkpoints are saved, and at which step it begins."""
    if WATCHED in os.environ:
        with suppress(BrokenPipeError):  # it was killed: then nobody asks
            os.write(int(os.environ[WATCHED]), f"{step} {os.path.abspath(checkpoints)}".encode())


def lost(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, is that of a computation in which other processes take part, and not of
    one that fails by itself: too large, or none that can be compiled."""
    import jax

    own = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED")
    if isinstance(error, jax.errors.JaxRuntimeError):
        return jax.process_count() > 1 and not str(error).startswith(own)
    return error is not None and lost(error.__cause__)


@contextmanager
def together() -> Iterator[None]:
    """Inside, a computation that fails because another process is gone ends this one at once.

    At once: to close its files in good order it would have to wait for that other process. Does nothing where no other
    process watches this one.
    """
    try:
        yield
    except Exception as error:
        if WATCHED not in os.environ or not lost(error):
            raise
        print(f"the runtime says: {' '.join(str(error).split())[:200]}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(LOST)


def _launched_by_a_cluster(environment: Mapping[str, str]) -> bool:
    """Whether an engine that JAX knows has started this process as one of several."""
    counts = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    if environment.get("SLURM_STEP_ID") is None and "OMPI_COMM_WORLD_SIZE" not in environment:
        counts = ()  # a shell in an allocation is not one of its tasks
    several = any(environment.get(name, "1").isdecimal() and int(environment.get(name, "1")) > 1 for name in counts)
    pods = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "").count(",") > 0 or "MEGASCALE_COORDINATOR_ADDRESS" in environment
    return several or pods or hosts
