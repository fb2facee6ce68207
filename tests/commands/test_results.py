"""Recorded results: ledger, headlines, README table, `launch.py list` and `diff`."""

import io
import json
import math
import re
import subprocess
import sys
import textwrap

import pytest
from run_files import rewrite

from jaxdl.commands import curves, diff, gallery
from jaxdl.commands import list as list_command
from jaxdl.config import describe, resolve
from jaxdl.config.serialize import to_json
from jaxdl.errors import UserError
from jaxdl.runs import ledger
from jaxdl.runs.folder import RunFolder

RECIPE = '''
    """A net on made-up images.

    Result: {result}
    Run:    python launch.py --config=experiments/net/{name}.py
    """

    import flax.linen as nn
    import optax
    from fiddle.experimental.auto_config import auto_config
    from jaxdl.data.dataset import Data
    from jaxdl.data.synthetic.images import MockImages
    from jaxdl.config.experiment import Experiment
    from jaxdl.tasks.image_classification import ImageClassification

    METRIC = "{metric}"

    @auto_config
    def experiment(steps: int = 10, width: int = 4):
        return Experiment(
            task=ImageClassification(nn.Dense(width)),
            data=Data(train=MockImages(), evals={{"validation": MockImages()}}, test=MockImages(), batch_size=8),
            optimizers={{"train": optax.sgd(0.1)}},
            steps=steps,
        )
'''


def git(root, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_recipe(root, name, result=ledger.NONE_RECORDED, metric="test/accuracy"):
    path = root / "experiments" / "net" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(RECIPE.format(name=name, result=result, metric=metric)))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Repository with two committed recipes; its imports are removed after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    root = tmp_path / "checkout"
    write_recipe(root, "made_up_a")
    write_recipe(root, "made_up_b")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "recipes")
    yield root
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def make_run(root, path, *, seed=0, value=0.9, settings=(), metrics=None, changes=None, more=None):
    """Writes the files of a finished run; `more` is added to its result."""
    path.mkdir(parents=True)
    name = "experiments/net/made_up_a.py"
    settings = [f"seed={seed}", *settings]
    config = resolve(str(root / name), settings)
    rewrite(path / "config.json", to_json(config, name, settings))
    rewrite(path / "config.txt", describe(config))
    manifest = {
        "command": ["launch.py", f"--config={name}", *(f"--set={text}" for text in settings)],
        "recipe": name,
        "seed": seed,
        "code": {"commit": git(root, "rev-parse", "HEAD"), "dirty": False},
        "devices": {"platform": "gpu", "kind": "Fast GPU", "count": 1, "cpu_cores": 2},
        "datasets": {"validation": {"name": "made", "split": "train[90%:]"}, "test": {"name": "made", "split": "test"}},
        "attempts": [{"start": "2030-01-02T10:00:00.000Z", "end": "2030-01-03T10:00:00.000Z"}],
    }
    rewrite(path / "manifest.json", json.dumps(manifest | (changes or {})))
    metrics = metrics or {
        "test": {"accuracy": value, "loss": 1.0, "confusion": [[1, 0], [0, 1]]},
        "validation": {"accuracy": 0.5},
    }
    result = {"step": 10, "metrics": metrics, "seconds": 366, "state_digest": f"{hash(path.name):016x}aaaa"}
    rewrite(path / "result.json", json.dumps(result | (more or {})))
    return path


def test_a_finished_run_is_recorded_with_its_provenance(root, tmp_path):
    run = make_run(root, tmp_path / "run", seed=3, value=0.9371)
    rows = ledger.record(run, root)
    assert rows == ledger.read(root)
    assert [(row.metric, row.value) for row in rows] == [("test/accuracy", 0.9371), ("test/loss", 1.0)]
    row = rows[0]
    assert (row.recipe, row.split, row.seed) == ("experiments/net/made_up_a.py", "made test", 3)
    assert (row.device, row.minutes, row.date, row.steps) == ("Fast GPU", 6.1, "2030-01-03", 10)
    assert row.commit == git(root, "rev-parse", "HEAD")
    assert row.command == "launch.py --config=experiments/net/made_up_a.py --set=seed=3"
    assert row.overrides == ""


def test_a_second_run_is_appended_and_a_repeated_one_refused(root, tmp_path):
    first, second = (make_run(root, tmp_path / f"run{seed}", seed=seed) for seed in (0, 1))
    ledger.record(first, root)
    ledger.record(second, root)
    text = ledger.results_path(root).read_text()
    assert [row.seed for row in ledger.read(root)] == [0, 0, 1, 1]
    with pytest.raises(UserError, match="is recorded already, in line 4 of"):
        ledger.record(second, root)
    assert ledger.results_path(root).read_text() == text


def test_work_speed_and_selected_step_are_recorded_beside_older_rows_without_them(root, tmp_path):
    ledger.record(make_run(root, tmp_path / "old", seed=0), root)
    path = ledger.results_path(root)
    path.write_text("".join(f"{line.rsplit(',', 3)[0]}\n" for line in path.read_text().splitlines()))
    assert path.read_text().splitlines()[0].endswith(",overrides,digest")
    assert {(row.selected, row.tflop, row.gflops) for row in ledger.read(root)} == {(None, None, None)}
    more = {"selected_step": 4, "tflop": 41.7, "gflops": 190.5}
    new = ledger.record(make_run(root, tmp_path / "new", seed=1, more=more), root)
    assert ledger.read(root)[2:] == new
    assert {(row.selected, row.tflop, row.gflops) for row in new} == {(4, 41.7, 190.5)}
    assert path.read_text().splitlines()[1].endswith(",,,")
    (summary,) = ledger.summaries(root).values()  # of the rows with a selection
    assert (summary.seeds, summary.tflop) == (1, 41.7)
    assert summary.cost == "1 seed, 6.1 min, 42 TFLOP on Fast GPU"


def test_equal_weights_of_another_commit_are_a_separate_result(root, tmp_path):
    ledger.record(make_run(root, tmp_path / "first"), root)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "another way to score")
    rescored = make_run(root, tmp_path / "second", value=0.95)
    ledger.record(rescored, root)
    assert [row.value for row in ledger.read(root) if row.metric == "test/accuracy"] == [0.9, 0.95]
    with pytest.raises(UserError, match="is recorded already"):
        ledger.record(rescored, root)


def test_a_run_without_a_test_set_is_recorded_with_its_evals(root, tmp_path):
    metrics = {"validation": {"accuracy": 0.5}, "shifted": {"accuracy": None}}
    changes = {"devices": {"platform": "cpu", "kind": "Chip", "count": 8, "cpu_cores": 2}}
    rows = ledger.record(make_run(root, tmp_path / "run", metrics=metrics, changes=changes), root)
    assert [row.metric for row in rows] == ["validation/accuracy", "shifted/accuracy"]
    assert math.isnan(ledger.read(root)[1].value)
    assert rows[0].split == "made train[90%:]"
    assert rows[0].device == "8 x Chip (2 cores)"


def test_overrides_that_affect_results_are_recorded(root, tmp_path):
    settings = ["width=8", "log_every=1", "keep.latest=3", "optimizers.train.learning_rate=0.2"]
    rows = ledger.record(make_run(root, tmp_path / "run", settings=settings), root)
    assert rows[0].overrides == "width=8 optimizers.train.learning_rate=0.2"
    assert ledger.summaries(root) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": {"commit": "abc", "dirty": True}}, "ran with uncommitted changes"),
        ({"code": {"commit": None, "dirty": None}}, "ran outside of a git repository"),
        ({"recipe": "/elsewhere/mine.py"}, "only results of recipes under"),
        ({"recipe": "mylab.recipes.flowers"}, "only results of recipes under"),
        (
            {"attempts": [{"end": "2030-01-02"}, {"end": None, "changed": {"code": {}}}]},
            "was resumed with another code",
        ),
        ({"attempts": [{"end": None, "changed": {"config_fingerprint": "x"}}]}, "another config_fingerprint"),
    ],
)
def test_an_irreproducible_run_is_refused(root, tmp_path, changes, message):
    run = make_run(root, tmp_path / "run", changes=changes)
    with pytest.raises(UserError, match=message):
        ledger.record(run, root)
    assert not ledger.results_path(root).exists()


def test_unfinished_and_missing_runs_are_refused(root, tmp_path):
    run = make_run(root, tmp_path / "run")
    (run / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished"):
        ledger.record(run, root)
    with pytest.raises(UserError, match="does not exist"):
        ledger.record(tmp_path / "none", root)


def test_uncommitted_recipes_are_refused(root, tmp_path):
    first, second = (make_run(root, tmp_path / f"run{seed}", seed=seed) for seed in (0, 1))
    (root / "notes.txt").write_text("not code, not tracked")
    ledger.record(first, root)
    (root / "experiments" / "new.py").write_text("")
    with pytest.raises(UserError, match=r"experiments/new\.py has uncommitted changes"):
        ledger.record(second, root)
    (root / "experiments" / "new.py").unlink()
    write_recipe(root, "made_up_b", metric="test/loss")
    with pytest.raises(UserError, match=r"experiments/net/made_up_b\.py has uncommitted changes"):
        ledger.record(second, root)
    git(root, "checkout", "--quiet", ".")
    ledger.record(second, root)
    outside, third = tmp_path / "outside", make_run(root, tmp_path / "run2", seed=2)
    write_recipe(outside, "made_up_a")
    with pytest.raises(UserError, match="results are recorded in a git checkout"):
        ledger.record(third, outside)


def test_an_invalid_line_is_reported_with_its_number(root):
    ledger.results_path(root).write_text("recipe,value\nexperiments/x.py,high\n")
    with pytest.raises(UserError, match=r"results\.csv:2 is not a recorded result"):
        ledger.read(root)
    ledger.results_path(root).write_bytes(b"recipe\xff")
    with pytest.raises(UserError, match=r"cannot read .*results\.csv .*restore it from git"):
        ledger.read(root)


def row(**changes):
    values = dict.fromkeys(("split", "commit", "command", "date", "overrides", "digest"), "")
    values |= {
        "recipe": "a",
        "metric": "test/accuracy",
        "device": "gpu",
        "value": 0.5,
        "minutes": 1.0,
        "seed": 0,
        "steps": 1,
    }
    return ledger.Row(**{**values, **changes})


def test_summaries_are_over_seeds_of_the_newest_kind():
    rows = [
        row(seed=0, value=0.1, device="cpu"),
        row(seed=0, value=0.2, steps=7),
        row(seed=0, value=0.3),
        row(seed=0, value=0.9, minutes=2.0),
        row(seed=0, metric="test/loss", value=9.0),
        row(seed=1, value=0.4, overrides="width=8"),
        row(seed=1, value=0.7, minutes=4.0),
        row(recipe="b", metric="test/loss", value=2.0),
        row(recipe="b", value=0.6),
    ]
    summaries = ledger.summarize(rows, {"a": "test/accuracy"})
    assert (summaries["a"].mean, summaries["a"].seeds, summaries["a"].minutes) == (pytest.approx(0.8), 2, 3.0)
    assert summaries["a"].std == pytest.approx(math.sqrt(0.02))
    assert summaries["a"].values == (0.9, 0.7)
    assert (summaries["b"].metric, summaries["b"].mean, summaries["b"].std) == ("test/loss", 2.0, None)
    assert ledger.summarize(rows, {"b": "test/missing"}).keys() == {"a"}


@pytest.mark.parametrize(
    ("value", "std", "text"),
    [
        (0.9371, 0.0023, "0.937 +- 0.002"),
        (1.46971, None, "1.470"),
        (0.9996, None, "0.9996"),
        (0.99996, None, "0.99996"),
        (1.0, None, "1.000"),
        (28.24, 0.31, "28.24 +- 0.31"),
        (468.0, 12.3, "468.0 +- 12.3"),
        (123456.7, None, "123457"),
        (0.01234, 0.0011, "0.0123 +- 0.0011"),
        (0.0, None, "0.000"),
        (-0.5, None, "-0.500"),
        (math.nan, None, "nan"),
    ],
)
def test_numbers_are_formatted(value, std, text):
    assert ledger.figure(value, std) == text


def test_list_has_task_data_and_result_of_every_recipe(root, tmp_path):
    ledger.record(make_run(root, tmp_path / "run", more={"tflop": 0.123}), root)
    write_recipe(root, "made_up_c").write_text("def experiment(): return 1 +")
    (root / "experiments" / "net" / "made_up_d.py").write_text("import no_such_module\ndef experiment(): ...")
    a, b, c, d = list_command.rows(root)
    assert (a["name"], a["family"]) == ("experiments/net/made_up_a.py", "net")
    assert (a["task"], a["data"], a["error"]) == ("ImageClassification", "MockImages", None)
    assert (a["metric"], a["value"], a["std"], a["seeds"], a["minutes"]) == ("test/accuracy", 0.9, None, 1, 6.1)
    assert (a["interval"], b["interval"]) == (None, None)
    assert (b["value"], b["device"]) == (None, None)
    assert "SyntaxError" in c["error"]
    assert "no_such_module" in d["error"]
    stream = io.StringIO()
    list_command.show(root, "json", stream)
    assert json.loads(stream.getvalue()) == [a, b, c, d]
    stream = io.StringIO()
    list_command.show(root, "text", stream)
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["recipe", "title", "result"]
    assert re.split("  +", lines[1])[1:] == [
        "A net on made-up images",
        "0.900 test/accuracy, 1 seed, 6.1 min, 0.12 TFLOP, Fast GPU",
    ]
    assert lines[2].endswith("none recorded")
    assert "experiments/net/made_up_c.py:1: invalid syntax" in lines[3]


def test_results_of_removed_recipes_stay_recorded_and_are_not_listed(root, tmp_path, capsys):
    rows = ledger.record(make_run(root, tmp_path / "run"), root)
    (root / "experiments" / "net" / "made_up_a.py").unlink()
    assert ledger.read(root) == rows
    assert [(row["name"], row["value"]) for row in list_command.rows(root)] == [("experiments/net/made_up_b.py", None)]
    gallery.run(root, output=str(tmp_path / "gallery.html"))
    assert "1 recipes, 0 with a recorded result" in capsys.readouterr().out


def test_the_list_is_a_table_on_a_terminal(root):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    list_command.show(root, "text", stream)
    assert "made_up_a.py" in stream.getvalue()


def test_curves_of_the_current_folder_are_labelled_with_its_name(tmp_path, monkeypatch):
    run = tmp_path / "run"
    with RunFolder(run) as folder:
        folder.write_config("{}", "")
        folder.write(1, "train", {"loss": 1.0})
    monkeypatch.chdir(run)
    pictures = [curves.draw_curves([name], str(tmp_path / "curves.png")).read_bytes() for name in (".", str(run))]
    assert pictures[0] == pictures[1]


def test_diff_of_two_runs_has_settings_and_metrics(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    a, b = make_run(root, tmp_path / "a"), make_run(root, tmp_path / "b", settings=["width=8"])
    stream = io.StringIO()
    diff.show_diff(str(a), str(b), stream)
    assert [line.split() for line in stream.getvalue().splitlines()] == [
        ["path", str(a), str(b)],
        ["task.model.features", "4", "8"],
    ]
    stream = io.StringIO()
    diff.show_diff(str(a), str(a), stream)
    assert stream.getvalue() == "configurations and code are equal\n"
    with pytest.raises(UserError, match="is not a run"):
        diff.show_diff(str(a), str(tmp_path), stream)


def test_folds_are_averaged():
    rows = [row(seed=seed, value=0.5 + seed / 10, split=f"faces train[{20 * seed}%:]") for seed in range(3)]
    summary = ledger.summarize([*rows, row(seed=0, value=0.1, split="faces other")][:3])["a"]
    assert (summary.seeds, summary.split) == (3, "faces train")
    assert summary.mean == pytest.approx(0.6)
