"""Manifest of a run: its environment, inputs and every attempt."""

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from jaxdl.runs import manifest
from jaxdl.runs.folder import RunFolder

ARGUMENTS = {
    "command": ["launch.py", "--config=r.py"],
    "recipe": "r.py",
    "overrides": ["seed=1"],
    "seed": 1,
    "datasets": {"train": {"fingerprint": "abc", "shape": (28, 28)}},
    "config_fingerprint": "f00",
}


def test_the_manifest_records_environment_and_inputs(tmp_path):
    with RunFolder(tmp_path) as folder:
        manifest.start_manifest(folder, ARGUMENTS)
        folder.rewind(-1)
        manifest.end_attempt(folder, exit=0, last_step=9)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["command"] == ARGUMENTS["command"]
    assert content["datasets"] == {"train": {"fingerprint": "abc", "shape": [28, 28]}}
    assert {"jax", "numpy", "flax", "python"} <= content["packages"].keys()
    assert content["devices"]["count"] >= 1
    assert content["devices"]["kind"] != "cpu"  # the model of the processor
    assert set(content["code"]) == {"commit", "dirty"}
    (attempt,) = content["attempts"]
    assert (attempt["first_step"], attempt["last_step"], attempt["exit"]) == (0, 9, 0)
    assert attempt["start"] <= attempt["end"]
    assert attempt["end"].endswith("Z")


def test_a_resumed_run_closes_the_killed_attempt_and_records_changes(tmp_path):
    with RunFolder(tmp_path) as folder:
        manifest.start_manifest(folder, ARGUMENTS)
        folder.rewind(-1)
        folder.write(30, "train", {"loss": 1})
        content = folder.manifest()
        content["attempts"][0]["start"] = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        folder.write_manifest(content)
    future = time.time() + 3600  # by a clock that was set back since
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b"{torn")
    os.utime(tmp_path / "metrics.jsonl", (future, future))
    with RunFolder(tmp_path) as folder:
        content = manifest.start_manifest(folder, {**ARGUMENTS, "overrides": []})
        folder.rewind(20)
        killed, resumed = folder.manifest()["attempts"]
    assert (killed["first_step"], killed["last_step"], killed["exit"]) == (0, 30, "killed")
    assert 55 < manifest.wall_seconds([killed]) < 65
    assert (resumed["first_step"], resumed["end"]) == (20, None)
    assert resumed["changed"] == {"overrides": []}
    assert "changed" not in killed
    assert content["overrides"] == ["seed=1"]
    assert manifest.latest(content, "overrides") == []
    assert manifest.latest(content, "seed") == 1


def test_the_duration_of_an_attempt_does_not_depend_on_the_clock(tmp_path, monkeypatch):
    with RunFolder(tmp_path) as folder:
        manifest.start_manifest(folder, ARGUMENTS)
        content = folder.manifest()
        content["attempts"][0]["start"] = "2999-01-01T00:00:00.000Z"
        folder.write_manifest(content)
        manifest.end_attempt(folder, exit=0)
        (attempt,) = folder.manifest()["attempts"]
    assert attempt["start"] <= attempt["end"] < "2999-01-01T00:01"
    assert manifest.wall_seconds([{"start": "2030-01-02T00:00:00Z", "end": "2030-01-01T00:00:00Z"}]) == 0
    assert manifest.wall_seconds([{"start": "2999-01-01T00:00:00Z", "end": None}]) == 0


def test_an_attempt_killed_before_its_first_row_ends_at_its_start(tmp_path):
    with RunFolder(tmp_path) as folder:
        manifest.start_manifest(folder, ARGUMENTS)
        attempt, _ = manifest.start_manifest(folder, ARGUMENTS)["attempts"]
    assert (attempt["end"], attempt["exit"], attempt["last_step"]) == (attempt["start"], "killed", None)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_code_version_is_of_the_repository_that_tracks_the_code(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        process = subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return process.stdout.strip()

    code = tmp_path / "code.py"
    code.write_text("")
    assert manifest.code_version(code) == {"commit": None, "dirty": None}
    git("init", "-q")
    assert manifest.code_version(code) == {"commit": None, "dirty": None}  # the repository does not track it
    git("add", "code.py")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("not code")
    assert manifest.code_version(code) == {"commit": commit, "dirty": False}
    (tmp_path / "new.py").write_text("")
    assert manifest.code_version(code) == {"commit": commit, "dirty": True}
    (tmp_path / "new.py").unlink()
    code.write_text("changed")
    assert manifest.code_version(code) == {"commit": commit, "dirty": True}
