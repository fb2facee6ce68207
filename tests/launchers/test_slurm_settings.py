"""Settings of the SLURM launcher: containers and prolog, by the submission script and the tasks' command lines."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl.errors import UserError
from jaxdl.launchers import Options, settings_of

SUBMIT = """
import sys
from pathlib import Path
from jaxdl.launchers import Job, Options, slurm
root = Path(sys.argv[1])
more = dict(text.partition("=")[::2] for text in sys.argv[2:])
slurm.launch([Job("a", ["python3", "/here/launch.py", "--set=a=0 b"], root / "run", 1)], Options(more=more))
"""


def submitted(root: Path, *settings: str) -> tuple[str, list[str]]:
    """Returns the batch script of a run, and its command line."""
    for name, text in {"sbatch": "echo Submitted batch job 1", "squeue": "true", "srun": "true"}.items():
        (root / name).write_text(f"#!/bin/bash\n{text}\n")
        (root / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{root}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", SUBMIT, str(root), *settings], env=environment, check=True)
    (script,) = root.glob(".slurm/1/*.sh")
    (task,) = root.glob(".slurm/1/*.pkl")
    return script.read_text(), list(pickle.loads(task.read_bytes()).args[0])


def test_apptainer_runs_the_training_after_the_prolog(tmp_path):
    container = ("container=/images/jaxdl.sif", "gpus=2", "mounts=/data:/data,/scratch:/tmp")
    _, command = submitted(tmp_path, *container, "prolog=export A='1 2'")
    (tmp_path / "apptainer").write_text('#!/bin/bash\nprintf "%s\\n" "$A" "$@"\n')
    (tmp_path / "apptainer").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    here = os.getcwd()
    assert output[:8] == ["1 2", "exec", "--nv", "--bind", "/data:/data", "--bind", "/scratch:/tmp", "--bind"]
    assert {f"{here}:{here}", f"{tmp_path}:{tmp_path}"} <= {*output}  # this folder, and that of the run
    assert output[-6:] == ["--pwd", here, "/images/jaxdl.sif", "python", "/here/launch.py", "--set=a=0 b"]


def test_a_prolog_that_fails_ends_the_run(tmp_path):
    _, command = submitted(tmp_path, "prolog=exit 3")
    assert subprocess.run(command, check=False).returncode == 3


def test_pyxis_starts_the_task_in_the_container(tmp_path):
    image = "nvcr.io#nvidia/jax:25.10-py3"
    script, command = submitted(tmp_path, f"container={image}", "runtime=pyxis", "mounts=/data:/data", "python=python3")
    (line,) = [line for line in script.splitlines() if line.startswith("srun")]
    here = os.getcwd()
    assert f"--container-image={image}" in line
    assert f"--container-mounts=/data:/data,{here}:{here},{tmp_path}:{tmp_path}" in line
    assert f"--container-workdir={here}" in line
    assert " python3 -u -m submitit" in line
    assert command == ["python3", "/here/launch.py", "--set=a=0 b"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"runtime": "docker"}, "--launch=runtime=docker has another form; write apptainer or pyxis"),
        ({"mounts": "data"}, "--launch=mounts=data has another form; write SOURCE:TARGET"),
    ],
)
def test_settings_of_another_form_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        settings_of("slurm", Options(more=setting))
