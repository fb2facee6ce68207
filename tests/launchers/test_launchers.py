"""Sweep launchers: Kubernetes manifests and TPU-pod scripts."""

import json
import os
import re
import subprocess

import kubernetes_validate
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


PLACED = {
    "image": "lab/jaxdl:1",
    "pull_secrets": "registry",
    "claim": "disk",
    "gpus": "8",
    "limits": "rdma/hca=1, ephemeral-storage=50Gi",
    "requests": "cpu=500m,memory=8Gi",
    "shm": "16Gi",
    "selector": "cloud.google.com/gke-accelerator=nvidia-h100-80gb,disk=",
    "tolerations": "nvidia.com/gpu:NoSchedule, team=vision:NoExecute",
    "priority": "high",
    "service_account": "trainer",
    "secrets": "wandb,bucket",
    "queue": "team-a",
}


def manifest_of(path, settings, jobs=2):
    runs = [Job(f"seed={n}", ["python3", "/here/launch.py", f"--set=a={n}"], path / str(n), 1) for n in range(jobs)]
    LAUNCHERS["kubernetes"](runs, Options(output=str(path / "sweep.json"), more=settings))
    return json.loads((path / "sweep.json").read_text())


def validate(job):
    """Validates a Job against the schema of the newest Kubernetes, in which unknown fields are errors."""
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("settings", [{"image": "a"}, PLACED, {"image": "a", "tpu": "v5e:2x4"}])
def test_jobs_match_the_schema_of_kubernetes(tmp_path, settings):
    job = manifest_of(tmp_path, settings)
    validate(job)
    job["spec"]["template"]["spec"]["containers"][0]["imagee"] = "b"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagee"):
        validate(job)


@pytest.mark.parametrize("settings", [{**PLACED, "processes": "4"}, {"image": "a", "tpu": "v5p:2x2x4"}])
def test_the_jobs_of_a_job_set_match_the_schema_of_kubernetes(tmp_path, settings):
    for number, job_set in enumerate(manifest_of(tmp_path, settings)["items"]):
        assert job_set["metadata"]["name"] == f"sweep-{number}"
        (replicated,) = job_set["spec"]["replicatedJobs"]
        assert all(
            rule["name"] for rule in job_set["spec"]["failurePolicy"]["rules"]
        )  # required by the JobSet's schema
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "a"},
            "spec": replicated["template"]["spec"],
        }
        validate(job)


def test_pods_have_the_given_resources_place_identity_and_secrets(tmp_path):
    job = manifest_of(tmp_path, PLACED)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {
        "limits": {
            "cpu": "4",
            "memory": "16Gi",
            "nvidia.com/gpu": "8",
            "rdma/hca": "1",
            "ephemeral-storage": "50Gi",
        },
        "requests": {"cpu": "500m", "memory": "8Gi"},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "wandb"}}, {"secretRef": {"name": "bucket"}}]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/runs", "/dev/shm"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb", "disk": ""}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute"},
    ]
    assert (pod["serviceAccountName"], pod["priorityClassName"]) == ("trainer", "high")
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(
    ("tpu", "accelerator", "chips", "hosts"),
    [
        ("v5e:1x1", "tpu-v5-lite-podslice", 1, 1),
        ("v5e:2x4", "tpu-v5-lite-podslice", 8, 1),
        ("v6e:4x4", "tpu-v6e-slice", 4, 4),
        ("v4:2x2x1", "tpu-v4-podslice", 4, 1),
        ("v5p:2x2x4", "tpu-v5p-slice", 4, 4),
        ("v7x:4x4x4", "tpu7x", 4, 16),
    ],
)
def test_tpu_topologies_determine_chips_and_hosts(tmp_path, tpu, accelerator, chips, hosts):
    manifest = manifest_of(tmp_path, {"image": "a", "tpu": tpu}, jobs=1)
    if hosts == 1:
        spec = manifest["spec"]
    else:
        (job_set,) = manifest["items"]
        assert "cloud.google.com/gke-nodepool" in job_set["metadata"]["annotations"].values()
        spec = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
        assert spec["completions"] == hosts
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == str(chips)
    labels = {"accelerator": accelerator, "topology": tpu.partition(":")[2]}
    assert pod["nodeSelector"] == {f"cloud.google.com/gke-tpu-{name}": value for name, value in labels.items()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tpu": "v5:4x4"}, "tpu=v5:4x4: did you mean"),
        ({"tpu": "v5e:4"}, "a topology of v5e has 2 sides; write v5e:4x4"),
        ({"tpu": "v5p:4x4"}, "a topology of v5p has 3 sides; write v5p:2x2x4"),
        ({"tpu": "v5e:3x5"}, "has 15 chips, but hosts have 4; use a multiple of 4"),
        ({"tpu": "v5e:4x4", "gpus": "1"}, "--launch=gpus and --launch=tpu exclude each other"),
        ({"tpu": "v5e:4x4", "processes": "2"}, "--launch=processes=2: v5e:4x4 has 4 host"),
        ({"memory": "16 GB"}, "--launch=memory=16 GB has another form; write a quantity"),
        ({"cpu": "4,5"}, "--launch=cpu=4,5 has another form"),
        ({"tolerations": "gpu:Never"}, "--launch=tolerations=gpu:Never has another form; write KEY=VALUE:EFFECT"),
        ({"selector": "gpu"}, "--launch=selector=gpu has another form; write KEY=VALUE,KEY=VALUE"),
        ({"name": "My Sweep"}, "--launch=name=My Sweep has another form; write at most 42 lower-case"),
    ],
)
def test_settings_of_another_form_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        manifest_of(tmp_path, {"image": "a", **settings})
    assert not (tmp_path / "sweep.json").exists()


GCLOUD = """#!/bin/bash
cd {root}
if [[ "$*" == *describe* ]]; then
  state=$(head -n 1 states); sed -i 1d states; echo "${{state:-READY}}"; exit
fi
echo "$@" >> calls
for host in 0 1; do
  mkdir -p home$host
  for argument; do
    [[ "$argument" == --command=* ]] && HOST=$host HOME={root}/home$host bash -c "${{argument#--command=}}" || true
  done
done
[[ "$*" == *launch.py* ]] || exit 0
ended=$(head -n 1 ends); sed -i 1d ends; exit ${{ended:-0}}
"""
# Ends with the next exit code of this host and run.
PYTHON = """#!/bin/bash
codes={root}/codes-$HOST-${{2#--set=}}
code=$(head -n 1 $codes 2> /dev/null); sed -i 1d $codes 2> /dev/null
printf 'no line break'; exit ${{code:-0}}
"""


def tpu_run(root, codes=(), ends=(), states=(), **settings):
    """Runs the script of a run on a slice of two hosts.

    Args:
      codes: Exit codes of the hosts in each attempt. Absent ones: 0.
      ends: Exit codes of gcloud.
      states: States of the slice. Absent ones: READY.

    Returns:
      The number of attempts, and standard error.
    """
    (root / "ends").write_text("".join(f"{code}\n" for code in ends))
    (root / "states").write_text("".join(f"{state}\n" for state in states))
    for host in range(2):
        (root / f"codes-{host}-a=0").write_text("".join(f"{attempt[host]}\n" for attempt in codes))
    for name, text in {"gcloud": GCLOUD, "python": PYTHON, "sleep": "#!/bin/bash\n"}.items():
        (root / name).write_text(text.format(root=root))
        (root / name).chmod(0o755)
    path = root / "sweep.sh"
    jobs = [Job("a=0", ["python3", "/here/launch.py", "--set=a=0"], root / "0", 1)]
    more = {"tpu": "pod", "zone": "z", "folder": str(root), **settings}
    LAUNCHERS["tpu"](jobs, Options(retries=1, output=str(path), more=more))
    environment = {**os.environ, "PATH": f"{root}:{os.environ['PATH']}"}
    process = subprocess.run(["bash", str(path)], cwd=root, env=environment, capture_output=True, text=True)
    calls = [call for call in (root / "calls").read_text().splitlines() if "launch.py" in call]
    assert all(call.startswith("compute tpus tpu-vm ssh pod --zone=z --worker=all --command=") for call in calls)
    return len(calls), process.stderr


@pytest.mark.parametrize(
    ("codes", "ends", "attempts", "failure"),
    [
        ([(0, 0)], [], 1, ""),
        ([(75, 75), (75, 0), (0, 0)], [], 3, ""),  # stopped with a saved state
        ([(1, 75), (0, 0)], [], 2, ""),  # a failure, which the other host noticed
        ([(1, 1), (1, 1)], [], 2, "failed with exit code 1 "),
        ([(2, 2)], [], 1, "failed with exit code 2 "),
        ([(75, 1), (1, 1), (0, 0)], [255, 255], 3, ""),  # a lost host is not a retry
        ([], [255, 255, 255], 3, "failed with exit code lost 0 "),
    ],
)
def test_a_run_on_several_tpu_hosts_is_resumed_retried_or_given_up(tmp_path, codes, ends, attempts, failure):
    count, errors = tpu_run(tmp_path, codes, ends, losses="2")
    assert count == attempts
    assert (failure in errors) if failure else "failed" not in errors
    assert not list(tmp_path.glob("home*/.jaxdl.pid"))


def test_a_tpu_run_waits_for_a_preempted_slice(tmp_path):
    count, _ = tpu_run(tmp_path, states=["PREEMPTED", "CREATING"])
    assert count == 1
    assert (tmp_path / "states").read_text() == ""
    (tmp_path / "calls").write_text("")
    count, errors = tpu_run(tmp_path, states=["CREATING"] * 9, wait="1")
    assert (count, errors) == (0, "the slice is not ready after 1 minutes\n")
    with pytest.raises(UserError, match="--launch=tpu=NAME"):
        LAUNCHERS["tpu"]([], Options(more={"zone": "z"}))


def test_processes_that_an_attempt_left_on_a_tpu_host_are_stopped(tmp_path):
    (tmp_path / "home1").mkdir()
    left = subprocess.Popen(["sleep", "100"], start_new_session=True)
    (tmp_path / "home1" / ".jaxdl.pid").write_text(str(left.pid))
    assert tpu_run(tmp_path)[0] == 1
    assert left.wait(10) < 0
