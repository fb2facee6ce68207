"""Sweep launchers: Kubernetes manifests and TPU-pod scripts."""

import json
import os
import subprocess

import pytest

from jaxdl.errors import UserError
from jaxdl.launchers import LAUNCHERS, Job, Options


def test_kubernetes_manifest(tmp_path, capsys):
    path = tmp_path / "k8s" / "sweep.json"
    jobs = [Job(f"seed={n}", ["python3", "/here/launch.py", f"--set=a={n} b"], tmp_path / str(n), 1) for n in range(3)]
    settings = {"image": "lab/jaxdl:1", "gpus": "2", "claim": "disk"}
    LAUNCHERS["kubernetes"](jobs, Options(slots=2, retries=4, output=str(path), more=settings))
    assert f"for kubectl apply -f {path}" in capsys.readouterr().out
    manifest = json.loads(path.read_text())
    spec = manifest["spec"]
    assert (manifest["kind"], spec["completionMode"], spec["completions"], spec["parallelism"]) == (
        "Job",
        "Indexed",
        3,
        2,
    )
    assert spec["backoffLimitPerIndex"] == 4
    rules = {(*rule["onExitCodes"]["values"],): rule["action"] for rule in spec["podFailurePolicy"]["rules"]}
    assert rules == {(75,): "Ignore", (2, 76): "FailIndex"}
    pod = spec["template"]["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    script = container["command"][2].replace("exec python launch.py", "echo")
    process = subprocess.run(["sh", "-c", script], env={"JOB_COMPLETION_INDEX": "1"}, capture_output=True, text=True)
    assert process.stdout == "--set=a=1 b --processes=1\n"
    with pytest.raises(UserError, match="--launch=image is missing"):
        LAUNCHERS["kubernetes"](jobs, Options())
    with pytest.raises(UserError, match=r"--launch=imgae=\.\.\. is not a setting of kubernetes; did you mean 'image'"):
        LAUNCHERS["kubernetes"](jobs, Options(more={"imgae": "x"}))


def test_kubernetes_manifest_of_multi_pod_runs(tmp_path):
    path = tmp_path / "sweep.json"
    jobs = [Job(f"seed={n}", ["python3", "/here/launch.py", f"--set=a={n} b"], tmp_path / str(n), 1) for n in range(2)]
    settings = {"image": "lab/jaxdl:1", "processes": "4", "name": "big"}
    LAUNCHERS["kubernetes"](jobs, Options(retries=3, output=str(path), more=settings))
    _, job_set = json.loads(path.read_text())["items"]
    assert (job_set["kind"], job_set["metadata"]["name"]) == ("JobSet", "big-1")
    assert job_set["spec"]["failurePolicy"]["maxRestarts"] == 3
    pods = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (pods["completions"], pods["parallelism"], pods["backoffLimit"]) == (4, 4, 0)
    script = pods["template"]["spec"]["containers"][0]["command"][2].replace("exec python launch.py", "echo")
    process = subprocess.run(["sh", "-c", script], env={"JOB_COMPLETION_INDEX": "2"}, capture_output=True, text=True)
    assert process.stdout == "--set=a=1 b --processes=4 --process=2 --coordinator=big-1-run-0-0.big-1:9000\n"
    with pytest.raises(UserError, match="--slots requires runs of one pod each"):
        LAUNCHERS["kubernetes"](jobs, Options(slots=1, more=settings))
    with pytest.raises(UserError, match="--launch=processes=two is not a number"):
        LAUNCHERS["kubernetes"](jobs, Options(more={**settings, "processes": "two"}))


def test_tpu_pod_script(tmp_path):
    path = tmp_path / "sweep.sh"
    jobs = [Job(f"seed={n}", ["python3", "/here/launch.py", f"--set=a={n} b"], tmp_path / str(n), 1) for n in range(2)]
    LAUNCHERS["tpu"](jobs, Options(retries=1, output=str(path), more={"tpu": "pod", "zone": "z"}))
    ssh = tmp_path / "gcloud"  # the first run is stopped once, the second one fails
    ssh.write_text(
        '#!/bin/bash\necho "$@" >> calls\n[[ "$*" == *a=1* ]] && exit 1\n[ $(wc -l < calls) = 1 ] && exit 75\nexit 0\n'
    )
    ssh.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.run(["bash", str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert ["a=1" in call for call in calls] == [False, False, True, True]
    assert calls[0] == (
        "compute tpus tpu-vm ssh pod --zone=z --worker=all --command=cd jaxdl && python launch.py '--set=a=0 b'"
    )
    assert "failed with exit code 1" in process.stderr
    with pytest.raises(UserError, match="--launch=tpu=NAME"):
        LAUNCHERS["tpu"](jobs, Options(more={"zone": "z"}))
