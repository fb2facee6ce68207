"""Single-machine SLURM cluster for tests: daemons in a separate folder, on 127.0.0.1."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=15
JobRequeue=1
SlurmdTimeout=10
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmdParameters=config_overrides
NodeName=localhost NodeHostname=localhost NodeAddr=127.0.0.1 Port={node} CPUs=2 RealMemory=8000
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Returns the reason if a cluster cannot be started here, else ""."""
    absent = [name for name in DAEMONS if find(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "the daemons need root"


def find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


class Cluster:
    """Daemons of a cluster.

    Attributes:
      environment: Environment for SLURM's commands.
    """

    def __init__(self, environment: dict[str, str], commands: dict[str, list[str]]):
        self.environment, self._commands = environment, commands
        self._started: dict[str, subprocess.Popen] = {}

    def start(self, name: str) -> None:
        """Starts a daemon."""
        silent = subprocess.DEVNULL
        command = [find(name) or name, *self._commands[name]]
        self._started[name] = subprocess.Popen(command, env=self.environment, stdout=silent, stderr=silent)

    def kill(self, name: str) -> None:
        """Kills a daemon, as kill -9 does."""
        self._started[name].kill()
        self._started[name].wait()

    def stop(self) -> None:
        for process in reversed(self._started.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def run(self, *command: str) -> str:
        """Returns the output of a command."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def queue(self) -> dict[str, str]:
        """Returns {JOB_TASK: state} of waiting and running jobs."""
        lines = self.run("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)  # pyright: ignore


def free_ports(count: int) -> list[int]:
    """Returns unused ports of 127.0.0.1."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for connection in sockets:
            connection.bind(("127.0.0.1", 0))
        return [connection.getsockname()[1] for connection in sockets]


@contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    """Starts a cluster. `root` must be short, because it contains a socket."""
    root.chmod(0o755)
    for folder in ("state", "spool"):
        (root / folder).mkdir()
    key = root / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    configuration = root / "slurm.conf"
    port, node = free_ports(2)
    configuration.write_text(CONFIGURATION.format(root=root, port=port, node=node))
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    munge = [f"--key-file={key}", f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid", "--force"]
    munge += [f"--log-file={root}/munged.log", f"--seed-file={root}/munge.seed", "--foreground"]
    daemons = {"munged": munge, "slurmctld": ["-D"], "slurmd": ["-D", "-N", "localhost"]}
    running = Cluster(environment, daemons)
    try:
        for name in daemons:
            running.start(name)
            time.sleep(0.5)
        deadline = time.monotonic() + 30
        while "idle" not in running.run("sinfo", "-h", "-o", "%T"):
            assert time.monotonic() < deadline, (root / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield running
    finally:
        running.stop()
