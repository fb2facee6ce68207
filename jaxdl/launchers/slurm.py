"""SLURM launcher: a job array with one task per run, through submitit.

A run that was stopped after saving its state (exit code 75), was preempted or reached its time limit is requeued and
resumes from its last checkpoint. Submission does not wait: the same command later lists the finished runs and submits
those that are neither finished nor queued. The tasks of a search ask it for trials. Under pyxis the whole task is in
the container, which needs jaxdl and submitit; under apptainer only the run is.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdl.config.recipes import repository_root
from jaxdl.errors import UserError, from_extra
from jaxdl.launchers import WORKER, Job, Options, check_workers, settings_of
from jaxdl.runs.lock import WAIT

SETTINGS = {
    "partition": "",
    "account": "",
    "constraint": "",
    "time": "1440",  # minutes
    "cpus": "4",
    "gpus": "0",
    "memory": "",  # such as 32GB
    "nodes": "1",
    "processes": "1",  # per node and run
    "grace": "120",  # seconds for a run to save its state at its time limit
    "container": "",  # image of the run: a file, docker://NAME:TAG and the like
    "runtime": "apptainer",  # of the container: apptainer, or pyxis (with enroot), a plugin of SLURM
    "mounts": "",  # folders in the container, SOURCE:TARGET,SOURCE:TARGET
    "python": "python",  # in the container
    "prolog": "",  # shell command before each process of the run, such as "module load cuda"; its variables are kept
}
FORMS = {
    "runtime": ("apptainer|pyxis", "apptainer or pyxis"),
    "mounts": (r"/[^:,]*:/[^:,]*(,/[^:,]*:/[^:,]*)*", "SOURCE:TARGET,SOURCE:TARGET, with absolute paths"),
}
REQUIRED: dict[str, str] = {}
NUMBERS = {"time": 1, "cpus": 1, "gpus": 0, "nodes": 1, "processes": 1, "grace": 0}
FILE = MARK = ""
JOB = ".slurm"  # in a run folder: the id of its job, and one line per failure
_RENAMED = {"partition": "slurm_partition", "account": "slurm_account", "constraint": "slurm_constraint"}


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Submits the runs that are not queued.

    Raises:
      UserError: SLURM or submitit is missing, or a setting is unknown or refused by SLURM.
    """
    settings = settings_of("slurm", options)
    check_workers(jobs, int(settings["nodes"]) * int(settings["processes"]))
    with from_extra("cluster", "The SLURM launcher"):
        import submitit
        from submitit.core.utils import FailedJobError
    queued = _queue()
    waiting = [job for job in jobs if _mark(job.folder) in queued]
    new = [job for job in jobs if _mark(job.folder) not in queued]
    if waiting:
        print(f"{len(waiting)} run(s) already queued")
    if not new:
        return
    pyxis = {"slurm_python": settings["python"]} if _pyxis(settings) else {}
    executor = submitit.AutoExecutor(folder=new[0].folder.parent / JOB / "%A", cluster="slurm", **pyxis)
    try:
        mounts = _mounts(settings, new)
        executor.update_parameters(**_parameters(settings, options.slots, len(new), mounts))
        commands, folders = [list(job.command) for job in new], [job.folder for job in new]
        commands = [_inside(command, settings, mounts) for command in commands]
        submitted = executor.map_array(Work(options.retries), commands, folders)  # pyright: ignore
    except (FailedJobError, ValueError, KeyError) as error:
        raise UserError(f"SLURM refused the jobs: {' '.join(str(error).split())[:300]}") from None
    for job, handle in zip(new, submitted):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / JOB).write_text(f"{handle.job_id}\n")
        print(f"{job.name}  job {handle.job_id}  {job.folder / 'run.log'}")


class Work:
    """Task of the job array: trains one run, with retries.

    Attributes:
      retries: Number of retries after a failure.
    """

    def __init__(self, retries: int):
        self.retries = retries

    def __call__(self, command: Sequence[str], folder: Path) -> int:
        """Trains the run and returns its exit code.

        After 75, or after a failure with retries left, the job is requeued by the first process of the run, which ends
        when another one does.
        """
        code = _train(command, folder)
        if _process() == 0 and (code == 75 or (code not in (0, 2, 76) and _failed(folder) <= self.retries)):
            _requeue()
        elif code not in (0, 75):
            raise RuntimeError(f"exit code {code}; see {_log(folder)}")
        return code

    def checkpoint(self, command: Sequence[str], folder: Path) -> Any:
        """Resubmits the task at its time limit or preemption; called by submitit."""
        import submitit

        return submitit.helpers.DelayedSubmission(Work(self.retries), command, folder)


def _train(command: Sequence[str], folder: Path) -> int:
    """Runs the command and returns its exit code; SIGTERM is forwarded."""
    folder.mkdir(parents=True, exist_ok=True)
    with _log(folder).open("ab") as log:
        environment = {**os.environ, WAIT: "1", WORKER: _task()}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    before = signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def _process() -> int:
    """Returns the number of this process in its run."""
    return int(os.environ.get("SLURM_PROCID", "0"))


def _log(folder: Path) -> Path:
    number = _process()
    return folder / (f"run.{number}.log" if number else "run.log")


def _failed(folder: Path) -> int:
    """Records a failure and returns the number of failures since the submission."""
    with (folder / JOB).open("a") as mark:
        mark.write("failed\n")
    return (folder / JOB).read_text().count("failed")


def _task() -> str:
    """Returns the name of this job, JOB or JOB_TASK, which it keeps when it is requeued."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return job if task is None else f"{job}_{task}"


def _requeue() -> None:
    """Requeues this job, unless SLURM has cancelled or requeued it."""
    name = _task()
    state = subprocess.run(["squeue", "-h", "-j", name, "-o", "%T"], capture_output=True, text=True, check=True).stdout
    if state.strip() == "RUNNING":
        subprocess.run(["scontrol", "requeue", name], check=True)


def _parameters(settings: dict[str, str], slots: int | None, count: int, mounts: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the settings under submitit's names."""
    chosen: dict[str, Any] = {ours: settings[name] for name, ours in _RENAMED.items() if settings[name]}
    if settings["memory"]:
        chosen["slurm_mem"] = settings["memory"]
    if _pyxis(settings):
        arguments = [f"--container-image={settings['container']}", f"--container-mounts={','.join(mounts)}"]
        chosen["slurm_srun_args"] = [*arguments, f"--container-workdir={os.getcwd()}"]
    if settings["gpus"] != "0":
        chosen["slurm_gpus_per_node"] = int(settings["gpus"])
    return chosen | {
        "name": "jaxdl",
        "timeout_min": int(settings["time"]),
        "cpus_per_task": int(settings["cpus"]),
        "nodes": int(settings["nodes"]),
        "tasks_per_node": int(settings["processes"]),
        "slurm_array_parallelism": slots or count,
        "slurm_signal_delay_s": int(settings["grace"]),
        "slurm_additional_parameters": {"requeue": True, "open-mode": "append"},
    }


def _inside(command: Sequence[str], settings: dict[str, str], mounts: Sequence[str]) -> list[str]:
    """Returns a command after the prolog, in the container of apptainer."""
    line = list(command)
    if settings["container"] and not _pyxis(settings):
        binds = [bind for mount in mounts for bind in ("--bind", mount)]
        gpus = ["--nv"] if settings["gpus"] != "0" else []
        line = ["apptainer", "exec", *gpus, *binds, "--pwd", os.getcwd(), settings["container"]]
        line += [settings["python"], *command[1:]]
    if settings["prolog"]:
        line = ["bash", "-c", f'{settings["prolog"]} && exec "$@"', "prolog", *line]
    return line


def _pyxis(settings: dict[str, str]) -> bool:
    return bool(settings["container"]) and settings["runtime"] == "pyxis"


def _mounts(settings: dict[str, str], jobs: Sequence[Job]) -> list[str]:
    """Returns SOURCE:TARGET of the container: the given ones, and this folder, jaxdl's and those of the runs."""
    own = dict.fromkeys([os.getcwd(), str(repository_root()), *(str(job.folder.resolve().parent) for job in jobs)])
    return [*filter(None, settings["mounts"].split(",")), *(f"{folder}:{folder}" for folder in own)]


def _queue() -> set[str]:
    """Lists the pending and running jobs as JOB or JOB_TASK.

    Raises:
      UserError: SLURM is not available.
    """
    try:
        done = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise UserError("SLURM is not available (no squeue); use --launcher=local") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"squeue failed: {' '.join(error.stderr.split())[:200]}") from None
    return set(done.stdout.split())


def _mark(folder: Path) -> str:
    path = folder / JOB
    return path.read_text().partition("\n")[0] if path.is_file() else ""
