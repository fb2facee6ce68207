"""Kubernetes launcher: an Indexed Job with one pod per run, or one JobSet per run of several pods.

A pod that exits with 75 has saved its state and is restarted without counting as a retry. Exit codes 2, a usage error,
and 76, a pruned trial, are not retried (https://kubernetes.io/docs/concepts/workloads/controllers/job/). The pods of
one run are restarted together (https://jobset.sigs.k8s.io). The pods of a search ask it for trials. A TPU slice of
several hosts has one pod per host.
"""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from jaxdl.errors import UserError
from jaxdl.launchers import WORKER, Job, Options, check_workers, pods, settings_of, written

PORT = 9000  # of the coordinator, the first pod of a run
_OURS = {"app.kubernetes.io/managed-by": "jaxdl"}  # label of the manifest
_JOBSET, _NODE_POOL = "jobset.sigs.k8s.io", "cloud.google.com/gke-nodepool"
FILE, MARK = "sweep.json", json.dumps(_OURS)[1:-1]
SETTINGS = {
    "name": "sweep",
    "processes": "1",  # pods per run
    "queue": "",  # a LocalQueue of Kueue
    **pods.SETTINGS,
}
FORMS = {
    "name": (r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", "at most 42 lower-case letters, digits and -, the first a letter"),
    "queue": pods.FORMS["claim"],
    **pods.FORMS,
}
REQUIRED = {"image": "REGISTRY/NAME:TAG"}
NUMBERS = {"processes": 1, "gpus": 0, "grace": 0}


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Writes the manifest for `kubectl apply -f`; nothing is submitted.

    Raises:
      UserError: An unknown setting, no image, or a file that cannot be written.
    """
    settings = settings_of("kubernetes", options)
    tpu = pods.slice_of(settings)
    if tpu and settings["processes"] not in ("1", str(tpu.hosts)):
        raise UserError(
            f"--launch=processes={settings['processes']}: {settings['tpu']} has {tpu.hosts} host(s); drop it"
        )
    processes = tpu.hosts if tpu else int(settings["processes"])
    check_workers(jobs, processes)
    if processes > 1 and options.slots:
        raise UserError("--slots requires runs of one pod each; for runs of several pods use a queue such as Kueue")
    if processes == 1:
        manifest = indexed_job(jobs, options, settings)
    else:
        sets = [job_set(f"{settings['name']}-{n}", job, processes, options, settings) for n, job in enumerate(jobs)]
        manifest = {"apiVersion": "v1", "kind": "List", "items": sets}
    path = written("kubernetes", options, json.dumps(manifest, indent=2) + "\n")
    kind = "worker" if any(job.worker for job in jobs) else "run"
    print(f"{path}: {len(jobs)} {kind}(s), for kubectl apply -f {path}")


def indexed_job(jobs: Sequence[Job], options: Options, settings: dict[str, str]) -> dict[str, Any]:
    """Returns an Indexed Job whose pods are the runs."""
    lines = [_line(job) for job in jobs]
    worker = f'export {WORKER}="{settings["name"]}-$JOB_COMPLETION_INDEX"\n' if any(job.worker for job in jobs) else ""
    commands = "\n".join(f"  {number}) exec {line} ;;" for number, line in enumerate(lines))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": settings["name"], "labels": _labels(settings)},
        "spec": {
            "completionMode": "Indexed",
            "completions": len(jobs),
            "parallelism": options.slots or len(jobs),
            "backoffLimitPerIndex": options.retries,
            "podFailurePolicy": {"rules": [_on_exit("Ignore", 75), _on_exit("FailIndex", 2, 76)]},
            "template": {"spec": pods.pod(f'{worker}case "$JOB_COMPLETION_INDEX" in\n{commands}\nesac', settings)},
        },
    }


def _line(job: Job) -> str:
    alone = [] if job.worker else ["--processes=1"]  # otherwise JAX takes the pods of the job for processes of one run
    return shlex.join(["python", "launch.py", *job.command[2:], *alone])


def job_set(name: str, job: Job, processes: int, options: Options, settings: dict[str, str]) -> dict[str, Any]:
    """Returns a JobSet whose pods are the processes of one run, coordinated by the first.

    A JobSet does not distinguish exit code 2, so usage errors are retried like other failures.
    """
    line = shlex.join(["python", "launch.py", *job.command[2:], f"--processes={processes}"])
    first = f"{name}-run-0-0.{name}:{PORT}"
    script = f'exec {line} --process="$JOB_COMPLETION_INDEX" --coordinator={first}'
    disrupted = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    uncounted: dict[str, Any] = {"name": "resumed", "action": "RestartJobSetAndIgnoreMaxRestarts"}
    uncounted["onJobFailureReasons"] = ["PodFailurePolicy"]
    tasks = {
        "completionMode": "Indexed",
        "completions": processes,
        "parallelism": processes,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [_on_exit("FailJob", 75), disrupted]},
        "template": {"spec": pods.pod(script, settings)},
    }
    # All pods of a run on one slice.
    placed = {"annotations": {f"alpha.{_JOBSET}/exclusive-topology": _NODE_POOL}} if settings["tpu"] else {}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "labels": _labels(settings), **placed},
        "spec": {
            "failurePolicy": {"maxRestarts": options.retries, "rules": [uncounted]},
            "replicatedJobs": [{"name": "run", "replicas": 1, "template": {"spec": tasks}}],
        },
    }


def _labels(settings: dict[str, str]) -> dict[str, str]:
    return {**_OURS, **({"kueue.x-k8s.io/queue-name": settings["queue"]} if settings["queue"] else {})}


def _on_exit(action: str, *codes: int) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"operator": "In", "values": [*codes]}}
