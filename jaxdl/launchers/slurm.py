"""A sweep as a job array of SLURM, by submitit: each task of the array is a run.

A run that was stopped and has saved its state (exit code 75) is requeued, and so is one that SLURM preempts or whose
time is up; it goes on from its last save. Submitting waits for nothing: the same command again says what is finished,
and submits what is neither finished nor in the queue.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError, from_extra
from jaxdl.launchers import Job, Options, settings_of

SETTINGS = {
    "partition": "",
    "account": "",
    "constraint": "",
    "time": "1440",  # minutes
    "cpus": "4",
    "gpus": "0",
    "memory": "",  # such as 32GB
    "nodes": "1",
    "processes": "1",  # of a run on each node
    "grace": "120",  # seconds that a run has to save its state when its time is up
}
MARK = ".slurm"  # in a run folder: the job that was submitted for it, and a line for each time that it failed
_RENAMED = {"partition": "slurm_partition", "account": "slurm_account", "constraint": "slurm_constraint"}


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Submits the runs that are not in the queue.

    Raises:
      UserError: no SLURM here, submitit is missing, or a setting that does not exist or that SLURM refuses.
    """
    settings = settings_of("slurm", options.more, SETTINGS)
    with from_extra("cluster", "The SLURM launcher"):
        import submitit
        from submitit.core.utils import FailedJobError
    queued = _queue()
    waiting = [job for job in jobs if _mark(job.folder) in queued]
    new = [job for job in jobs if _mark(job.folder) not in queued]
    if waiting:
        print(f"{len(waiting)} run(s) in the queue already")
    if not new:
        return
    executor = submitit.AutoExecutor(folder=new[0].folder.parent / MARK / "%A", cluster="slurm")
    try:
        executor.update_parameters(**_parameters(settings, options.slots, len(new)))
        commands, folders = [list(job.command) for job in new], [job.folder for job in new]
        submitted = executor.map_array(Work(options.retries), commands, folders)  # pyright: ignore
    except (FailedJobError, ValueError, KeyError) as error:
        raise UserError(f"SLURM did not take the jobs: {' '.join(str(error).split())[:300]}") from None
    for job, handle in zip(new, submitted):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / MARK).write_text(f"{handle.job_id}\n")
        print(f"{job.name}  job {handle.job_id}  {job.folder / 'run.log'}")


class Work:
    """What a task of the array does: one run, again if it fails.

    Attributes:
      retries: how often it is tried again.
    """

    def __init__(self, retries: int):
        self.retries = retries

    def __call__(self, command: Sequence[str], folder: Path) -> int:
        """The exit code of the run; after 75 SLURM is asked to requeue the job, and after a failure as often as that is
        to be tried again. Of several processes the first one asks: it ends when another does."""
        code = _made(command, folder)
        if _number() == 0 and (code == 75 or (code not in (0, 2) and _failed(folder) <= self.retries)):
            _requeue()
        elif code not in (0, 75):
            raise RuntimeError(f"exit code {code}; {_log(folder)} says why")
        return code

    def checkpoint(self, command: Sequence[str], folder: Path) -> Any:
        """For submitit, when the job's time is up or it is preempted: the same again; the run has its own state."""
        import submitit

        return submitit.helpers.DelayedSubmission(Work(self.retries), command, folder)


def _made(command: Sequence[str], folder: Path) -> int:
    """Makes the run and gives its exit code; a SIGTERM for this process is passed on."""
    folder.mkdir(parents=True, exist_ok=True)
    with _log(folder).open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    before = signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def _number() -> int:
    """Of this process, in a run of several."""
    return int(os.environ.get("SLURM_PROCID", "0"))


def _log(folder: Path) -> Path:
    number = _number()
    return folder / (f"run.{number}.log" if number else "run.log")


def _failed(folder: Path) -> int:
    """How often the run has failed since it was submitted, now included."""
    with (folder / MARK).open("a") as mark:
        mark.write("failed\n")
    return (folder / MARK).read_text().count("failed")


def _requeue() -> None:
    """Asks SLURM to queue this job again, unless SLURM itself has ended it: it was cancelled, or is queued already."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    name = job if task is None else f"{job}_{task}"
    state = subprocess.run(["squeue", "-h", "-j", name, "-o", "%T"], capture_output=True, text=True, check=True).stdout
    if state.strip() == "RUNNING":
        subprocess.run(["scontrol", "requeue", name], check=True)


def _parameters(settings: dict[str, str], slots: int | None, count: int) -> dict[str, Any]:
    """submitit's names."""
    chosen: dict[str, Any] = {ours: settings[name] for name, ours in _RENAMED.items() if settings[name]}
    if settings["memory"]:
        chosen["slurm_mem"] = settings["memory"]
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


def _queue() -> set[str]:
    """The jobs that wait or run, as JOB or JOB_TASK.

    Raises:
      UserError: there is no SLURM here.
    """
    try:
        done = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise UserError("there is no SLURM here (no squeue); use --launcher=local") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"SLURM does not answer: {' '.join(error.stderr.split())[:200]}") from None
    return set(done.stdout.split())


def _mark(folder: Path) -> str:
    path = folder / MARK
    return path.read_text().partition("\n")[0] if path.is_file() else ""
