"""Pods of the Kubernetes launcher: resources, placement, identity and secrets."""

import re
from collections.abc import Mapping
from typing import Any

from jaxdl.distributed.tpu_slices import TpuSlice, tpu_slice
from jaxdl.errors import UserError

SETTINGS = {
    "image": "",  # with this repository in its working folder and jaxdl installed
    "pull_secrets": "",  # Secrets of the image's registry, NAME,NAME
    "claim": "",  # a PersistentVolumeClaim for the run folders
    "mount": "/runs",
    "cpu": "4",  # limits per pod; so are memory, gpus and limits
    "memory": "16Gi",
    "gpus": "0",
    "gpu_resource": "nvidia.com/gpu",
    "limits": "",  # further resources, NAME=QUANTITY,NAME=QUANTITY
    "requests": "",  # requests that are below the limits, NAME=QUANTITY,NAME=QUANTITY
    "tpu": "",  # slice of each run on Google Kubernetes Engine, such as v5e:4x4
    "shm": "",  # size of /dev/shm, such as 8Gi
    "selector": "",  # labels of the nodes, KEY=VALUE,KEY=VALUE
    "tolerations": "",  # taints of the nodes, KEY=VALUE:EFFECT or KEY:EFFECT, separated by commas
    "priority": "",  # a PriorityClass
    "service_account": "",
    "secrets": "",  # Secrets whose entries become environment variables, NAME,NAME
    "grace": "120",  # seconds for a pod to save its state
}
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_KEY = rf"([a-z0-9.-]+/)?{_LABEL}"
_DNS = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
_QUANTITY = r"\d+(\.\d+)?(m|k|Ki|[MGTPE]i?)?"
_EFFECTS = "NoSchedule|PreferNoSchedule|NoExecute"


def several(part: str) -> str:
    """Returns the regular expression of a list with commas, whose parts match a regular expression."""
    return rf"({part})(\s*,\s*({part}))*"


_RESOURCES = (several(rf"{_KEY}={_QUANTITY}"), "NAME=QUANTITY,NAME=QUANTITY, such as ephemeral-storage=50Gi")
_NAME, _NAMES = (_DNS, "the name of an object: lower-case letters, digits, - and ."), (several(_DNS), "NAME,NAME")
_AMOUNT = (_QUANTITY, "a quantity such as 500m, 4 or 16Gi")
FORMS = {
    "pull_secrets": _NAMES,
    "claim": _NAME,
    "mount": (r"/[^:]*", "an absolute path"),
    "cpu": _AMOUNT,
    "memory": _AMOUNT,
    "shm": _AMOUNT,
    "gpu_resource": (_KEY, "the name of a resource, such as amd.com/gpu"),
    "limits": _RESOURCES,
    "requests": _RESOURCES,
    "selector": (several(rf"{_KEY}=({_LABEL})?"), "KEY=VALUE,KEY=VALUE"),
    "tolerations": (
        several(rf"{_KEY}(=({_LABEL})?)?:({_EFFECTS})"),
        f"KEY=VALUE:EFFECT or KEY:EFFECT, with an effect of {_EFFECTS.replace('|', ', ')}",
    ),
    "priority": _NAME,
    "service_account": _NAME,
    "secrets": _NAMES,
}


def slice_of(settings: Mapping[str, str]) -> TpuSlice | None:
    """Returns the TPU slice of each run, None without TPUs. Raises UserError for an unknown one."""
    if not settings["tpu"]:
        return None
    if settings["gpus"] != "0":
        raise UserError("--launch=gpus and --launch=tpu exclude each other; drop one")
    return tpu_slice(settings["tpu"])


def pod(script: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns the specification of a pod that runs a shell script."""
    tpu = slice_of(settings)
    limits = {"cpu": settings["cpu"], "memory": settings["memory"], **_pairs(settings["limits"])}
    limits |= {settings["gpu_resource"]: settings["gpus"]} if settings["gpus"] != "0" else {}
    limits |= {"google.com/tpu": str(tpu.chips)} if tpu else {}
    requests = _pairs(settings["requests"])
    container: dict[str, Any] = {
        "name": "run",
        "image": settings["image"],
        "command": ["sh", "-c", script],
        "resources": {"limits": limits, **({"requests": requests} if requests else {})},
    }
    if secrets := _list(settings["secrets"]):
        container["envFrom"] = [{"secretRef": {"name": name}} for name in secrets]
    volumes, mounts = _volumes(settings)
    if volumes:
        container["volumeMounts"] = mounts
    labels = _pairs(settings["selector"]) | (_labels(tpu) if tpu else {})
    optional = {
        "volumes": volumes,
        "nodeSelector": labels,
        "tolerations": [_toleration(text) for text in _list(settings["tolerations"])],
        "serviceAccountName": settings["service_account"],
        "priorityClassName": settings["priority"],
        "imagePullSecrets": [{"name": name} for name in _list(settings["pull_secrets"])],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(settings["grace"]),
        "containers": [container],
        **{name: value for name, value in optional.items() if value},
    }


def _volumes(settings: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes, mounts = [], []
    if settings["claim"]:
        volumes.append({"name": "runs", "persistentVolumeClaim": {"claimName": settings["claim"]}})
        mounts.append({"name": "runs", "mountPath": settings["mount"]})
    if settings["shm"]:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings["shm"]}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    return volumes, mounts


def _labels(tpu: TpuSlice) -> dict[str, str]:
    prefix = "cloud.google.com/gke-tpu"
    return {f"{prefix}-accelerator": tpu.accelerator, f"{prefix}-topology": tpu.topology}


def _toleration(text: str) -> dict[str, str]:
    """Returns the toleration KEY=VALUE:EFFECT, or KEY:EFFECT for every value."""
    taint, _, effect = text.rpartition(":")
    key, equals, value = taint.partition("=")
    return {
        "key": key,
        **({"operator": "Equal", "value": value} if equals else {"operator": "Exists"}),
        "effect": effect,
    }


def _list(text: str) -> list[str]:
    return [part for part in re.split(r"\s*,\s*", text.strip()) if part]


def _pairs(text: str) -> dict[str, str]:
    return {part.partition("=")[0]: part.partition("=")[2] for part in _list(text)}
