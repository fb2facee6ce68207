"""Sweeps: runs of a grid, states of runs, and their processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxdl.commands import power, sweep, train
from jaxdl.commands.cli import main
from jaxdl.errors import Failed, Preempted, UserError
from jaxdl.launchers import Job, Options, local
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import start_manifest

ROOT = Path(__file__).parents[2]
RECIPE = "tests/survivor.py"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (["seed=0..2"], [["seed=0"], ["seed=1"], ["seed=2"]]),
        (["seed=-1..0", "a=x,y"], [["seed=-1", "a=x"], ["seed=-1", "a=y"], ["seed=0", "a=x"], ["seed=0", "a=y"]]),
        (["a=(1,2),(3,4)"], [["a=(1,2)"], ["a=(3,4)"]]),
        (["a='p,q',r"], [["a='p,q'"], ["a=r"]]),
        (["a,b=(1,[2,3]),(4,5)"], [["a=1", "b=[2,3]"], ["a=4", "b=5"]]),
    ],
)
def test_axes_of_a_grid_are_parsed(grid, expected):
    assert sweep.points(grid) == expected


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["seed"], "--grid=seed is not an axis"),
        (["seed="], "is not an axis"),
        (["seed=1,"], "is not an axis"),
        (["seed=4..1"], r"the range 4\.\.1 is empty; write 1\.\.4"),
        (["seed=0,1,0"], "--grid=seed=0,1,0 has 0 twice"),
        (["a,b=(1,2),(1,2)"], r"has \(1,2\) twice"),
        (["seed=1", "seed=2"], "--grid has 'seed' twice"),
        (["a,b=(1,2),(3)"], r"'\(3\)' needs a value for each of a, b"),
        (["a,b=1,2"], "needs a value for each"),
    ],
)
def test_invalid_grids_are_refused(grid, message):
    with pytest.raises(UserError, match=message):
        sweep.points(grid)


def test_a_configuration_determines_its_folder(tmp_path):
    runs = sweep.runs(RECIPE, ["steps=12"], ["seed=0..1"], tmp_path)
    assert [run.varied for run in runs] == ["seed=0", "seed=1"]
    assert runs[0].settings == ("steps=12", "seed=0")
    assert {run.folder.parent for run in runs} == {tmp_path}
    assert runs[0].folder != runs[1].folder
    assert sweep.runs(RECIPE, ["steps=12"], ["seed=1"], tmp_path)[0].folder == runs[1].folder
    assert len(sweep.runs(RECIPE, [], ["seed=0,00,1"], tmp_path)) == 2
    with pytest.raises(UserError, match="no 'sead'"):
        sweep.runs(RECIPE, [], ["sead=0..1"], tmp_path)


def test_runs_of_other_code_are_reported(tmp_path, capsys):
    first, second = sweep.runs(RECIPE, [], ["seed=0..1"], tmp_path)
    for run, modules in ((first, {"tests.survivor": "0" * 64}), (second, None)):
        with RunFolder(run.folder) as folder:
            folder.write_config("{}", "experiment = Experiment(...)\n")
            start_manifest(folder, {"modules": modules})
    first, second = sweep.runs(RECIPE, [], ["seed=0..1"], tmp_path)
    assert (first.changed, second.changed) == (True, False)
    sweep.run(RECIPE, [], ["seed=0..1"], str(tmp_path), "local", Options(), dry_run=True)
    assert capsys.readouterr().err == f"warning: the code has changed since the training of {first.folder}\n"


def test_the_tracker_is_passed_on_to_every_run_and_is_not_in_its_folder_s_name(tmp_path, capsys):
    flags = [f"--config={RECIPE}", "--grid=seed=0..1", "--launcher=kubernetes", "--launch=image=lab/jaxdl"]
    flags += [f"--workdir={tmp_path}"]
    scripts = []
    for name, tracker in {"with": ["--tracker=wandb"], "without": []}.items():
        output = tmp_path / f"{name}.json"
        assert main(["sweep", *flags, f"--output={output}", *tracker]) == 0
        scripts.append(output.read_text())
    assert scripts[0].count(" --tracker=wandb") == 2
    assert scripts[0].replace(" --tracker=wandb", "") == scripts[1]
    assert main(["sweep", *flags, "--tracker=wand"]) == 2
    assert "--tracker=wand is unknown" in capsys.readouterr().err


def job(tmp_path: Path, name: str, code: str) -> Job:
    return Job(name, [sys.executable, "-c", code], tmp_path / name, steps=1)


# Counts its runs in a file, and ends with the first exit code that is left.
CODES = """
import pathlib, sys
path = pathlib.Path({path!r}); path.parent.mkdir(exist_ok=True)
count = len(path.read_text()) if path.exists() else 0
path.write_text("x" * (count + 1)); print("run", count)
sys.exit({codes}[min(count, len({codes}) - 1)])
"""


@pytest.mark.parametrize(
    ("codes", "runs", "fails"),
    [
        ([0], 1, False),
        ([2], 1, True),
        ([1, 0], 2, False),
        ([1], 2, True),
        ([76], 1, True),
        ([75, 75, 75, 1, 0], 5, False),
    ],
)
def test_failed_runs_are_retried_and_stopped_ones_resumed(tmp_path, capsys, codes, runs, fails):
    path = str(tmp_path / "counts" / "one")
    jobs = [job(tmp_path, "one", CODES.format(path=path, codes=codes)), job(tmp_path, "two", "print('done')")]
    if fails:
        with pytest.raises(Failed, match=r"1 of 2 run\(s\) failed, see .*one/run.log \(exit code"):
            local.launch(jobs, Options(slots=1, retries=1))
    else:
        local.launch(jobs, Options(slots=1, retries=1))
    assert (tmp_path / "one" / "run.log").read_text() == "".join(f"run {number}\n" for number in range(runs))
    assert (tmp_path / "two" / "run.log").read_text() == "done\n"
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("one  started") for line in lines) == runs
    assert any(line.startswith("two  finished after 0:0") for line in lines)


KILLED = """
import os, pathlib, signal
checkpoints = pathlib.Path({folder!r}) / "checkpoints"; checkpoints.mkdir(exist_ok=True)
count = len(list(checkpoints.iterdir())); print("run", count)
if count < {saves}: (checkpoints / str(count)).mkdir()
if count < 3: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_that_has_saved_is_resumed_and_not_counted_as_failed(tmp_path):
    saving, idle = (
        job(tmp_path, name, KILLED.format(folder=str(tmp_path / name), saves=saves))
        for name, saves in (("saving", 3), ("idle", 0))
    )
    local.launch([saving], Options(slots=1, retries=0))
    assert (saving.folder / "run.log").read_text() == "".join(f"run {number}\n" for number in range(4))
    with pytest.raises(Failed, match=r"idle/run.log \(exit code -9\)"):
        local.launch([idle], Options(slots=1, retries=1))
    assert (idle.folder / "run.log").read_text() == "run 0\n" * 2


STOPS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
os.kill(os.getppid(), signal.SIGTERM); time.sleep(20)
"""


def test_a_signal_is_forwarded_once_and_no_run_starts(tmp_path):
    jobs = [job(tmp_path, "one", STOPS), job(tmp_path, "two", "print('never')")]
    with pytest.raises(
        Preempted, match="SIGTERM: the runs have saved their states; run the same command to resume them"
    ):
        local.launch(jobs, Options(slots=1))
    assert not (tmp_path / "two").exists()


def test_slots_partition_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4}, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert [sorted(slot.cores) for slot in local.slots(2, 9)] == [[0, 1], [2, 3, 4]]
    assert len(local.slots(None, 9)) == 5
    assert len(local.slots(None, 3)) == 3
    assert all(slot.cores for slot in local.slots(7, 9))
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    slots = local.slots(None, 9)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["4", "6"]
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in slots[0].environment
    slots = local.slots(3, 9)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["4", "6", "4"]
    assert slots[2].environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.45"
    with pytest.raises(UserError, match="--slots=0 must be at least 1"):
        local.slots(0, 9)


def sweeping(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "launch.py", "sweep", f"--config={RECIPE}", f"--workdir={folder}", "--grid=seed=0..2"]
    return subprocess.Popen(
        [*command, "--slots=2"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def measured(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/metrics.jsonl") if path.stat().st_size]


@pytest.mark.slow
def test_a_killed_sweep_resumes_without_repetition(tmp_path):
    """Killed runs save and stop. The next sweep skips finished runs and resumes the rest."""
    killed = sweeping(tmp_path)
    while not measured(tmp_path) and killed.poll() is None:
        time.sleep(0.05)
    killed.kill()
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    resumed = sweeping(tmp_path)
    output = resumed.communicate(timeout=120)[0]
    if "trains in" in output:  # the runs of a killed sweep were still saving
        output = sweeping(tmp_path).communicate(timeout=120)[0]
    assert sum(" new " in line or " started " in line for line in output.splitlines()) >= 3
    results = [json.loads(path.read_text()) for path in tmp_path.glob("*/result.json")]
    assert len(results) == 3
    for path in tmp_path.glob("*/metrics.jsonl"):
        steps = [row["step"] for row in map(json.loads, path.read_text().splitlines()) if row["split"] == "train"]
        assert steps == sorted(set(steps))
    finished = sweeping(tmp_path)
    output = finished.communicate(timeout=60)[0]
    assert finished.returncode == 0
    assert "3 run(s): 3 finished" in output
    assert "started" not in output


def test_power_counts_the_seeds_that_a_comparison_needs(tmp_path, capsys):
    with pytest.raises(UserError, match="--power needs finished runs of this sweep as a pilot; train some seeds first"):
        power.run([run.folder for run in sweep.runs(RECIPE, ["steps=2"], ["seed=0..2"], tmp_path)], 0.1)
    for seed in range(3):
        run = sweep.runs(RECIPE, ["steps=2"], [f"seed={seed}"], tmp_path)[0]
        train.run(RECIPE, list(run.settings), str(run.folder))
    capsys.readouterr()
    base = ["sweep", f"--config={RECIPE}", "--set=steps=2", f"--workdir={tmp_path}"]
    assert main([*base, "--grid=seed=0..2", "--power=0.1", "--metric=validation/loss"]) == 0
    output = capsys.readouterr().out
    assert "validation/loss: standard deviation over seeds" in output
    assert "(2 degrees of freedom)" in output
    assert "independent groups" in output
    assert "looks" not in output
    assert main([*base, "--grid=seed=0..2", "--power=0.1", "--looks=3", "--metric=validation/loss"]) == 0
    assert "With 3 looks, of which the first significant one ends the comparison" in capsys.readouterr().out
    assert main([*base, "--looks=3"]) == 2
    assert "--looks needs --power=DIFFERENCE" in capsys.readouterr().err
    assert main([*base, "--power=-1"]) == 2
    assert "--power=-1.0 must be a positive difference of the metric" in capsys.readouterr().err
    assert main([*base, "--power=1", "--trials=3"]) == 2
    assert "--power trains nothing; drop --trials" in capsys.readouterr().err


def test_decompose_crosses_the_seeds_of_all_sources(tmp_path, capsys):
    base = ["sweep", f"--config={RECIPE}", f"--workdir={tmp_path}", "--dry_run"]
    assert main([*base, "--decompose=5"]) == 0
    output = capsys.readouterr().out
    assert "25 run(s): 25 new" in output
    assert "seeds.init=4 seeds.order=3 seeds.augment=2 seeds.noise=0" in output
    for levels in (3, 6):
        assert main([*base, f"--decompose={levels}"]) == 2
        message = f"--decompose={levels} is not a prime number of at least 5; use 5 (25 runs) or 7 (49 runs)"
        assert message in capsys.readouterr().err
    assert main([*base, "--decompose=5", "--grid=seed=0..2"]) == 2
    assert "--decompose chooses the seeds of its runs" in capsys.readouterr().err
