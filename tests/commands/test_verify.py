"""`jaxdl verify` and the commands that read a damaged run."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from jaxdl.commands.cli import main
from jaxdl.runs.seal import CHANGED, UNREADABLE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    os.chdir(ROOT)
    path = tmp_path_factory.mktemp("run") / "run"
    assert main(("--config=tests/survivor.py", f"--workdir={path}", "--set=steps=10")) == 0
    return path


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def flip(path: Path, place: float = 0.5) -> None:
    """Flips one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def newest_data(run: Path) -> Path:
    """Returns the largest file of the newest checkpoint."""
    return max((run / "checkpoints" / "10").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def state(run: Path, capsys) -> tuple[int, dict[str, str]]:
    """Returns the exit code of `verify` and {part: damage}."""
    capsys.readouterr()
    code = main(("verify", str(run), "--format=json"))
    parts = json.loads(capsys.readouterr().out)["parts"]
    return code, {name: text for name, text in parts.items() if text != "intact"}


def test_a_run_is_intact_after_training(run, capsys):
    assert state(run, capsys) == (0, {})
    assert main(("verify", str(run))) == 0
    output = capsys.readouterr().out
    assert "checkpoints/10" in output
    assert "use step 10" in output


@pytest.mark.parametrize("name", ["config.json", "config.txt", "manifest.json", "result.json", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_damage_of_a_file_is_named(run, capsys, name, damage):
    path = run / name
    if damage == "flipped":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 40])
    code, damaged = state(run, capsys)
    assert (code, set(damaged)) == (1, {name})


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("config.json", "eval {run}"),
        ("config.json", "predict {run} {run}/pictures"),
        ("config.txt", "--config=tests/survivor.py --set=steps=11 --workdir={run}"),
        ("manifest.json", "reproduce {run} --dry_run"),
        ("result.json", "reproduce {run}"),
        ("result.json", "predict {run} {run}/pictures"),
        ("metrics.jsonl", "curves {run}"),
        ("metrics.jsonl", "eval {run}"),
        ("result.json", "record {run}"),
    ],
)
def test_a_command_refuses_a_damaged_file_in_one_line(run, capsys, name, command):
    flip(run / name)
    assert main(tuple(word.format(run=run) for word in command.split())) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{name} does not have the SHA-256" in line or f"{name} is changed or damaged" in line


@pytest.mark.parametrize("name", ["config.txt", "manifest.json", "metrics.jsonl"])
def test_a_command_refuses_a_run_that_lost_a_file(run, capsys, name):
    (run / name).unlink()
    assert main(("eval", str(run))) == 2
    assert f"{name} is missing" in capsys.readouterr().err


def test_a_report_names_a_damaged_file_that_it_does_not_need(run, tmp_path, capsys):
    (run / "config.json").write_bytes((run / "config.json").read_bytes()[:300])
    assert main(("report", str(run), f"--output={tmp_path / 'report.html'}")) == 0
    assert capsys.readouterr().err == f"warning: {run} is damaged: config.json is changed or damaged\n"
    assert "config.json is changed or damaged" in (tmp_path / "report.html").read_text()


def test_a_finished_run_without_checkpoints_is_damaged(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert state(run, capsys) == (1, {"checkpoints": "missing"})


def test_a_finished_run_may_be_extended(run, capsys):
    assert main(("--config=tests/survivor.py", f"--workdir={run}", "--set=steps=12", "--allow=config")) == 0
    assert state(run, capsys) == (0, {})


@pytest.mark.parametrize("name", ["config.json", "config.txt"])
@pytest.mark.parametrize("damage", ["flipped", "a directory", "a link to itself"])
def test_training_derives_the_configuration_of_a_run_again(run, capsys, name, damage):
    before = (run / name).read_text()
    if damage == "flipped":
        flip(run / name)
    else:
        (run / name).unlink()
        if damage == "a directory":
            (run / name).mkdir()
        else:
            (run / name).symlink_to(name)
    assert state(run, capsys) == (1, {name: CHANGED if damage == "flipped" else UNREADABLE})
    assert main(("--config=tests/survivor.py", f"--workdir={run}", "--set=steps=10")) == 0
    assert f"{name} is" in capsys.readouterr().err
    assert (run / name).read_text() == before
    assert state(run, capsys) == (0, {})


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_training_derives_the_result_again_from_the_last_checkpoint(run, capsys, damage):
    before = json.loads((run / "result.json").read_text())
    damage(run / "result.json")
    assert main(("--config=tests/survivor.py", f"--workdir={run}", "--set=steps=10")) == 0
    after = json.loads((run / "result.json").read_text())
    assert [after[key] for key in ("step", "metrics", "state_digest")] == [
        before[key] for key in ("step", "metrics", "state_digest")
    ]
    assert state(run, capsys) == (0, {})


def test_curves_and_sweeps_name_a_damaged_run_and_continue_with_the_others(run, trained, tmp_path, capsys):
    others = [str(shutil.copytree(trained, tmp_path / name)) for name in ("one", "two")]
    flip(run / "manifest.json")
    assert main(("curves", others[0], str(run), others[1], f"--output={tmp_path / 'curves.png'}")) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {run} is left out: {run / 'manifest.json'} is changed or damaged")
    grid = ("sweep", "--config=tests/survivor.py", "--grid=steps=10,11", f"--workdir={tmp_path / 'sweep'}", "--dry_run")
    assert main(grid) == 0
    folder = Path(capsys.readouterr().out.splitlines()[0].split()[-1])
    shutil.copytree(run, folder)
    assert main(grid) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(f"warning: {folder / 'manifest.json'} is changed or damaged")
    assert "1 damaged, 1 new" in captured.out


@pytest.mark.parametrize("content", [None, '{"version"'])
def test_a_missing_or_damaged_configuration_is_not_accepted(run, capsys, content):
    path = run / "config.json"
    path.unlink() if content is None else path.write_text(content)
    assert main(("verify", str(run), "--accept")) == 2
    error = capsys.readouterr().err
    assert f"{path} cannot be accepted: " in error
    assert "train again to derive it" in error


def test_a_deliberate_change_is_accepted(run, capsys):
    path = run / "result.json"
    path.write_text(path.read_text().replace('"step": 10', '"step": 10 '))
    assert state(run, capsys)[0] == 1
    assert main(("verify", str(run), "--accept")) == 0
    assert state(run, capsys) == (0, {})


def test_damage_of_a_checkpoint_is_named_with_the_step_that_is_used(run, capsys):
    flip(newest_data(run))
    assert main(("verify", str(run))) == 1
    captured = capsys.readouterr()
    assert "checkpoints/10" in captured.err
    assert "use step 5" in captured.out


def test_damage_of_a_checkpoints_record_is_named(run, capsys):
    path = next((run / "checkpoints" / "10" / "record").rglob("metadata"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "evaluated_at": 9}))
    code, damaged = state(run, capsys)
    assert (code, set(damaged)) == (1, {"checkpoints/10"})
    assert "record" in damaged["checkpoints/10"]


def test_metrics_with_a_damaged_line_are_named(run, capsys):
    path = run / "metrics.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first[:9] + "\n", *rest]))
    code, damaged = state(run, capsys)
    assert (code, set(damaged)) == (1, {"metrics.jsonl"})


@pytest.mark.parametrize(
    "command",
    ["eval {run} --format=json", "predict {run} {image}", "explain {run} {image}", "export {run} --to=stablehlo"],
)
def test_a_command_names_the_older_checkpoint_that_it_uses(run, tmp_path, capsys, command):
    flip(newest_data(run))
    picture = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(picture)
    words = command.format(run=run, image=picture).split()
    if words[0] != "eval":
        words.append(f"--output={tmp_path / 'output'}")
    assert main(tuple(words)) == 0
    captured = capsys.readouterr()
    assert "checkpoint of step 10" in captured.err
    assert "step 5 is used" in captured.err
    if words[0] == "eval":
        assert json.loads(captured.out)["damaged_checkpoints"] == [10]
