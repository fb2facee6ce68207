"""Runs over several processes: one program, of which every process has some devices (JAX's multi-controller runtime).

Each process runs the same command. Which one it is, how many there are and where they meet, JAX finds out by itself on
SLURM, Kubernetes, Open MPI and TPU pods; elsewhere flags say so.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import jax

from jaxdl.errors import UserError

HEARTBEAT = 30  # seconds without a sign of life after which a process is taken for lost


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, where that is not found by itself.

    Attributes:
      count: how many there are.
      number: of this one, from 0 on.
      coordinator: "HOST:PORT" of process 0.
    """

    count: int | None = None
    number: int | None = None
    coordinator: str | None = None


def initialize(place: Place = Place()) -> None:
    """Joins the other processes, if there are any. Call it before anything touches a device.

    Raises:
      UserError: one of the three flags is missing or out of range, or the others did not come.
    """
    given = (place.count, place.number, place.coordinator)
    if given == (None, None, None):
        if not _launched_by_a_cluster(os.environ):
            return
        options = {}
    else:
        if place.count is None or place.number is None or place.coordinator is None:
            raise UserError("--processes, --process and --coordinator=HOST:PORT belong together; give all three")
        if not 0 <= place.number < place.count:
            raise UserError(
                f"--process={place.number} of --processes={place.count}: must be from 0 to {place.count - 1}"
            )
        if place.count == 1:
            return
        options = {
            "coordinator_address": place.coordinator,
            "num_processes": place.count,
            "process_id": place.number,
        }
    try:
        jax.distributed.initialize(**options, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the processes of this run did not find each other ({reason}); see that all were started"
        ) from None


def is_first() -> bool:
    """Whether this is the process that writes, and that people see."""
    return jax.process_index() == 0


def _launched_by_a_cluster(environment: Mapping[str, str]) -> bool:
    """Whether an engine that JAX knows has started this process as one of several."""
    counts = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    if environment.get("SLURM_STEP_ID") is None and "OMPI_COMM_WORLD_SIZE" not in environment:
        counts = ()  # a shell in an allocation is not one of its tasks
    several = any(environment.get(name, "1").isdecimal() and int(environment.get(name, "1")) > 1 for name in counts)
    pods = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "").count(",") > 0 or "MEGASCALE_COORDINATOR_ADDRESS" in environment
    return several or pods or hosts
