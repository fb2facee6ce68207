"""A SLURM of one machine, for tests: its daemons in a folder of their own, on 127.0.0.1, stopped by process id."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Why there can be no cluster here, "" if there can."""
    absent = [name for name in DAEMONS if find(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "the daemons need root"


def find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@contextmanager
def cluster(root: Path, port: int = 17_100) -> Iterator[dict[str, str]]:
    """Starts it; gives the environment in which its commands find it. `root` has to be short: it holds a socket."""
    root.chmod(0o755)
    for folder in ("state", "spool"):
        (root / folder).mkdir()
    key = root / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    configuration = root / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(root=root, port=port, node=port + 1))
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    munge = [f"--key-file={key}", f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid", "--force"]
    munge += [f"--log-file={root}/munged.log", f"--seed-file={root}/munge.seed", "--foreground"]
    daemons = {"munged": munge, "slurmctld": ["-D"], "slurmd": ["-D", "-N", "localhost"]}
    commands = [[find(name) or name, *options] for name, options in daemons.items()]
    started: list[subprocess.Popen] = []
    try:
        for command in commands:
            silent = subprocess.DEVNULL
            started.append(subprocess.Popen(command, env=environment, stdout=silent, stderr=silent))
            time.sleep(0.5)
        deadline = time.monotonic() + 30
        while "idle" not in run(environment, "sinfo", "-h", "-o", "%T"):
            assert time.monotonic() < deadline, (root / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield environment
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def run(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
