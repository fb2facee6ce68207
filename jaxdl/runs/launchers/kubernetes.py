"""A sweep as a manifest for Kubernetes: an Indexed Job whose pods are the runs.

A pod that ends with exit code 75 has saved its state and is made again without being counted; one that ends with 2 has
told of a mistake, and is not (https://kubernetes.io/docs/concepts/workloads/controllers/job/).
"""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from jaxdl.errors import UserError
from jaxdl.runs.launchers import Job, Options, settings_of, written

SETTINGS = {
    "name": "sweep",
    "image": "",  # with this repository in its working folder, and jaxdl installed
    "claim": "",  # a PersistentVolumeClaim for the run folders
    "mount": "/runs",
    "gpus": "0",
    "cpu": "4",
    "memory": "16Gi",
    "grace": "120",  # seconds that a pod has to save its state
}


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Writes the manifest, for `kubectl apply -f`; nothing is submitted.

    Raises:
      UserError: a setting that does not exist, no image, or a file that cannot be written.
    """
    settings = settings_of("kubernetes", options.more, SETTINGS)
    if not settings["image"]:
        raise UserError("the manifest needs an image that has this repository: --launch=image=REGISTRY/NAME:TAG")
    path = written(options, "sweep.json", json.dumps(manifest(jobs, options, settings), indent=2) + "\n")
    print(f"{path}: {len(jobs)} run(s), for kubectl apply -f {path}")


def manifest(jobs: Sequence[Job], options: Options, settings: dict[str, str]) -> dict[str, Any]:
    """The Job, as JSON, which is YAML."""
    lines = [shlex.join(["python", "launch.py", *job.command[2:]]) for job in jobs]
    commands = "\n".join(f"  {number}) exec {line} ;;" for number, line in enumerate(lines))
    limits = {"cpu": settings["cpu"], "memory": settings["memory"]}
    limits |= {"nvidia.com/gpu": settings["gpus"]} if settings["gpus"] != "0" else {}
    container: dict[str, Any] = {
        "name": "run",
        "image": settings["image"],
        "command": ["sh", "-c", f'case "$JOB_COMPLETION_INDEX" in\n{commands}\nesac'],
        "resources": {"limits": limits},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(settings["grace"]),
        "containers": [container],
    }
    if settings["claim"]:
        container["volumeMounts"] = [{"name": "runs", "mountPath": settings["mount"]}]
        pod["volumes"] = [{"name": "runs", "persistentVolumeClaim": {"claimName": settings["claim"]}}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": settings["name"]},
        "spec": {
            "completionMode": "Indexed",
            "completions": len(jobs),
            "parallelism": options.slots or len(jobs),
            "backoffLimitPerIndex": options.retries,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [75]}},
                    {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2]}},
                ]
            },
            "template": {"spec": pod},
        },
    }
