"""Reports: loading and grouping of runs, statistics, HTML, CSV, Markdown, rendering."""

import csv
import io
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_files import rewrite

from jaxdl.commands import gallery, report
from jaxdl.commands.cli import main
from jaxdl.config import describe, resolve
from jaxdl.config.recipes import repository_root
from jaxdl.config.serialize import to_json
from jaxdl.errors import UserError
from jaxdl.report import decomposition, html, load, statistics
from jaxdl.report.load import (
    DAMAGED,
    FAILED,
    FINISHED,
    KILLED,
    PRUNED,
    RUNNING,
    STOPPED,
)
from jaxdl.report.plots import hues
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.ledger import summaries

RECIPE = '''
"""A net & <i>its</i> images."""

import flax.linen as nn
import optax
from fiddle.experimental.auto_config import auto_config
from jaxdl.data.dataset import Data, Dataset
from jaxdl.config.experiment import Experiment
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.tasks.image_classification import ImageClassification

METRIC = "test/accuracy"

@auto_config
def experiment(steps: int = 100, width: int = 4, rate: float = 0.1, seed: int = 0, split: str = "train"):
    return Experiment(
        task=ImageClassification(nn.Dense(width)),
        data=Data(train=Dataset("digits", split), evals={"validation": Dataset("digits", "test")}, batch_size=8),
        optimizers={"train": optax.sgd(optax.warmup_cosine_decay_schedule(0.0, rate, steps // 10, steps))},
        steps=steps,
        seed=seed,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
'''
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "reported_net.py"
    path.write_text(RECIPE)
    yield path
    sys.modules.pop("reported_net", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(path.parent)]


@pytest.fixture
def make(recipe, tmp_path):
    """Writes a run folder in the format of training: make(name, settings, accuracy=...)."""

    def make(
        name,
        settings=(),
        *,
        accuracy=0.9,
        exit=0,
        rows=20,
        day=1,
        code="a" * 64,
        picture=False,
        changes=None,
        more=None,
    ):
        settings = list(settings)
        config = resolve(str(recipe), settings)
        ended = None if exit is None else f"2030-01-{day:02}T10:02:00.000Z"
        manifest = {
            "recipe": str(recipe),
            "overrides": settings,
            "seed": config.seed,
            "code": {"commit": "a" * 40, "dirty": False},
            "modules": {"jaxdl": "0" * 64, "reported_net": code},
            "devices": {"platform": "gpu", "kind": "Fast GPU", "count": 1},
            "attempts": [{"start": f"2030-01-{day:02}T10:00:00.000Z", "end": ended, "exit": exit}],
        }
        with RunFolder(tmp_path / "runs" / name) as folder:
            folder.write_config(to_json(config, str(recipe), settings), describe(config))
            rewrite(folder.path / "manifest.json", json.dumps(manifest | (changes or {})))
            for step in range(1, rows + 1):
                folder.write(step, "train", {"loss": 1 / step, "accuracy": accuracy, "step_time": 0.1})
                if step % 10 == 0:
                    folder.write(step, "validation", {"loss": 2 / step, "accuracy": accuracy})
            if picture:
                folder.picture(rows, "test_samples", np.full((300, 900, 3), 200, np.uint8))
            if exit == 0:
                scores = {"test": {"accuracy": accuracy, "loss": 0.5}, "validation": {"accuracy": accuracy - 0.1}}
                result = {"step": rows, "metrics": scores, "seconds": 90, "state_digest": "0" * 64}
                folder.finish(result | (more or {}))
        return folder.path

    return make


def read(*paths):
    return statistics.sections([load.read(path) for path in paths])


# --- groups and statistics


def test_groups_ignore_the_seed_and_logging_settings(make):
    paths = [make(f"plain{seed}", [f"seed={seed}"]) for seed in range(3)]
    paths.append(make("watched", ["seed=3", "log_every=1", "keep.latest=5"]))
    paths += [make(f"wide{seed}", ["width=16", f"seed={seed}"]) for seed in range(2)]
    paths.append(make("default", ["width=4", "seed=4"]))
    (section,) = read(*paths)
    assert section.title == "A net & <i>its</i> images"
    assert [(group.number, group.label, len(group.runs)) for group in section.groups] == [
        (1, "width=4", 5),
        (2, "width=16", 2),
    ]
    assert section.changes(section.groups[1]) == [("task.model.features", "4", "16")]


def test_paths_explained_by_an_argument_are_not_listed(make):
    settings = [
        ["steps=100"],
        ["steps=300", "rate=0.01"],
        ["steps=1000"],
        ["optimizers.train.learning_rate.end_value=1e-3"],
    ]
    (section,) = read(*(make(f"run{index}", overrides) for index, overrides in enumerate(settings)))
    assert section.arguments == ["steps", "rate", "end_value"]
    values = [list(group.arguments.values()) for group in section.groups]
    assert values == [["100", "0.1", "0.0"], ["100", "0.1", "0.001"], ["300", "0.01", "0.0"], ["1000", "0.1", "0.0"]]


def test_edits_of_the_recipe_make_separate_groups(make, tmp_path):
    first, second = make("first"), make("second", ["seed=1"], code="b" * 64)
    text = (second / "config.txt").read_text()
    rewrite(second / "config.txt", text.replace("data.batch_size = 8", "data.batch_size = 16"))
    (section,) = read(first, second)
    assert [group.label for group in section.groups] == ["batch_size=8", "batch_size=16"]
    assert section.changes(section.groups[1])[-1] == ("code of reported_net", "a" * 8, "b" * 8)


def test_edits_of_a_model_make_separate_groups_of_equal_configurations(make):
    paths = [make(f"run{seed}", [f"seed={seed}"], code=digest * 64) for seed, digest in enumerate("aab")]
    (section,) = read(*paths)
    assert sorted(len(group.runs) for group in section.groups) == [1, 2]
    assert all(group.label.startswith("code=") for group in section.groups)
    assert len({group.label for group in section.groups}) == 2


def test_without_digests_a_recipe_outside_the_commit_is_grouped_by_its_configuration(make):
    older = {"modules": None, "code": {"commit": "a" * 40, "dirty": False}}
    first, second = (make(f"run{seed}", [f"seed={seed}"], changes=older) for seed in range(2))
    text = (second / "config.txt").read_text()
    assert len(read(first, second)[0].groups) == 1
    rewrite(second / "config.txt", text.replace("data.batch_size = 8", "data.batch_size = 16"))
    assert len(read(first, second)[0].groups) == 2


def test_a_run_resumed_with_another_configuration_is_a_separate_group_with_a_problem(make):
    attempt = {"start": "2030-01-01T10:00:00.000Z", "end": "2030-01-01T10:02:00.000Z", "exit": 75}
    resumed = {"first_step": 10, "exit": 0, "changed": {"config_fingerprint": "b", "overrides": ["width=4", "seed=1"]}}
    changes = {"config_fingerprint": "a", "attempts": [{**attempt, "first_step": 0}, {**attempt, **resumed}]}
    (section,) = read(make("plain", ["width=4"]), make("mixed", ["width=4", "seed=1"], changes=changes))
    assert [len(group.runs) for group in section.groups] == [1, 1]
    (mixed,) = [run for run in section.runs if run.mixed]
    assert mixed.problem == "resumed with other configuration; it is compared with no other run"


def test_folds_selected_by_the_seed_are_one_group(make):
    """With equal code and overrides, differences derive from the seed."""
    paths = [make(f"fold{seed}", [f"seed={seed}"]) for seed in range(2)]
    text = (paths[1] / "config.txt").read_text()
    rewrite(paths[1] / "config.txt", text.replace("'train'", "'train[20%:]'"))
    (section,) = read(*paths)
    assert [group.label for group in section.groups] == [statistics.RECIPE_DEFAULTS]


def test_only_the_newest_run_of_a_seed_counts(make):
    (section,) = read(make("new", accuracy=0.7, day=2), make("old", accuracy=0.5, day=1))
    (group,) = section.groups
    assert (group.estimate("test/accuracy").values, group.seeds("test/accuracy")) == ((0.7,), "1")


def test_statistics_match_numpy(make):
    values = [0.91, 0.93, 0.94, 0.90, 0.95]
    (section,) = read(*(make(f"run{n}", [f"seed={n}"], accuracy=value) for n, value in enumerate(values)))
    estimate = section.groups[0].estimate("test/accuracy")
    assert (estimate.mean, estimate.std) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert statistics.estimate([0.5, float("nan")]) == ((0.5,), 0.5, None)


def test_metric_is_the_requested_one_then_keep_metric_then_the_first(make):
    path = make("run")
    assert read(path)[0].metric == "test/accuracy"
    run = load.read(path)
    assert statistics.sections([run], "validation/accuracy")[0].metric == "validation/accuracy"
    result = json.loads((path / "result.json").read_text())
    result["metrics"] = {"validation": {"loss": 1.0}, "test": {"error": None, "confusion": [[1]]}}
    rewrite(path / "result.json", json.dumps(result))
    (section,) = read(path)
    assert section.metric == "test/error"
    assert section.without_result == section.runs
    assert section.groups[0].seeds("test/error") == "0 of 1"


def test_best_group_follows_keep_metric_and_keep_mode(make):
    paths = [make("low", accuracy=0.5), make("high", ["width=8"], accuracy=0.7), make("wrong", ["width=9"], exit=1)]
    (section,) = read(*paths)
    assert section.best is section.groups[1]
    for path in paths:
        text = (path / "config.txt").read_text()
        rewrite(path / "config.txt", text.replace("keep.mode = 'max'", "keep.mode = 'min'"))
    assert (best := read(*paths)[0].best)
    assert best.number == 1


# --- unfinished and damaged runs


def test_state_of_a_run_follows_from_its_files(make):
    assert load.read(make("done")).state == FINISHED
    assert load.read(make("stopped", exit=75)).state == STOPPED
    pruned = load.read(make("pruned", exit=76))
    assert (pruned.state, pruned.problem) == (PRUNED, "")
    failed = load.read(make("failed", exit=1))
    assert (failed.state, failed.problem) == (FAILED, "exited with code 1 without a result")
    killed = make("killed", exit=None)
    assert load.read(killed).state == KILLED
    (killed / ".lock").write_text(f"process 999999999 on {socket.gethostname()}\n")
    assert load.read(killed).state == KILLED
    (killed / ".lock").write_text("process 1 on another-host\n")
    assert "another host" in load.read(killed).problem
    with RunFolder(killed):
        assert load.read(killed).state == RUNNING


@pytest.mark.parametrize(
    ("file", "content", "message", "state"),
    [
        ("manifest.json", None, "has no manifest.json", DAMAGED),
        ("manifest.json", "{", "manifest.json does not have the SHA-256", DAMAGED),
        ("config.txt", "nonsense", "config.txt does not have the SHA-256", DAMAGED),
        ("result.json", "{", "result.json does not have the SHA-256", DAMAGED),
        ("metrics.jsonl", '{"step": 1, "split": "train"}\n{"st\n{}\n', "line 2 of metrics.jsonl", FINISHED),
    ],
)
def test_a_damaged_run_is_reported(make, tmp_path, file, content, message, state):
    path = make("run")
    (path / file).unlink()
    if content is not None:
        (path / file).write_text(content)
    run = load.read(path)
    assert run.state == state
    assert message in run.problem
    report.run([str(path)], str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert "Unfinished or damaged" in text
    assert html.markup(message) in text


def test_an_undecodable_name_is_reported_and_linked(make, tmp_path):
    make("run").rename(tmp_path / "run\udcff")
    report.run([str(tmp_path)], str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert r"run\udcff is not valid UTF-8" in text
    assert "run%FF" in text


def test_log_tail_falls_back_to_metrics(make):
    path = make("run", exit=1)
    source, lines = load.log_tail(path)
    assert source == "No log; last rows of metrics.jsonl"
    assert [json.loads(line)["step"] for line in lines] == [19, 20, 20]
    (path / "run.log").write_bytes(b"step 1\rstep 2\rstep 3\n\n\x1b[31mValueError: <b>\x1b[0m\n")
    assert load.log_tail(path) == ("Last lines of run.log", ["step 3", "ValueError: <b>"])
    assert load.log_tail(path.parent) == ("No log and no metrics", [])


def test_runs_are_collected_at_any_depth_and_once(make, tmp_path):
    path, other_path = make("a/b/c/d/e/f/run"), make("run")
    (tmp_path / "runs/link").symlink_to(other_path)
    (tmp_path / "runs/a/loop").symlink_to(tmp_path / "runs")
    run_dirs = load.find([str(tmp_path / "runs"), str(path)])
    assert sorted(run_dir.resolve() for run_dir in run_dirs) == sorted([path, other_path])


def test_curves_are_losses_and_evaluation_metrics(make):
    path = make("run")
    curves = load.read(path).curves
    assert {name: set(splits) for name, splits in curves.items()} == {
        "loss": {"train", "validation"},
        "accuracy": {"train", "validation"},
    }
    np.testing.assert_allclose(curves["loss"]["validation"], [[10, 20], [0.2, 0.1]])


# --- HTML, CSV and Markdown


@pytest.fixture
def report_page(make, tmp_path):
    """Report of two groups, a failed run, a picture and names that require HTML escaping."""
    for seed, accuracy in enumerate((0.8, 0.9)):
        make(f"plain{seed}", [f"seed={seed}"], accuracy=accuracy, picture=True)
    make("wide <b>&", ["width=32", "seed=0"], accuracy=0.7)
    failed = make("failed", ["width=32", "seed=1"], exit=1)
    (failed / "run.log").write_text("Traceback\nValueError: <script>alert(1)</script>\n")
    report.run([str(tmp_path / "runs")], str(tmp_path / "report.html"))
    return tmp_path / "report.html"


def test_page_contains_groups_curves_pictures_failures_and_differences(report_page):
    text = report_page.read_text()
    for part in ("1 · width=4", "2 · width=32", "<b>0.850</b> ± 0.071", "0.215 to 1.485", "1 of 2", "Fast GPU"):
        assert part in text
    for title in ("Results: test accuracy", "Learning curves", "against test accuracy", "Pictures", "Configurations"):
        assert f"{title}</h3>" in text
    assert "failed after step 20" in text
    assert "task.model.features" in text
    assert 'href="runs/plain0/"' in text
    assert 'href="runs/plain1/pictures/20_test_samples.png"' in text


def test_page_escapes_text_and_is_self_contained(report_page):
    text = report_page.read_text()
    assert "A net &amp; &lt;i&gt;its&lt;/i&gt; images" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "wide &lt;b&gt;&amp;" in text
    assert 'href="runs/wide%20%3Cb%3E%26/"' in text
    assert "<script>alert" not in text
    assert not re.search(r'(src|href)="(https?:)?//|@import|url\(', text)
    (picture,) = set(re.findall(r'<img src="data:image/webp;base64,[^"]*" width="(\d+)"', text))
    assert picture == "380"


def test_csv_and_markdown_contain_the_groups(report_page):
    rows = list(csv.DictReader(io.StringIO(report_page.with_suffix(".csv").read_text())))
    assert [(row["group"], row["width"], row["seed"], row["test/accuracy"], row["state"]) for row in rows] == [
        ("1", "4", "0", "0.8", "finished"),
        ("1", "4", "1", "0.9", "finished"),
        ("2", "32", "1", "", "failed"),
        ("2", "32", "0", "0.7", "finished"),
    ]
    assert (rows[0]["minutes"], rows[0]["device"], rows[0]["commit"]) == ("1.5", "Fast GPU", "a" * 40)
    assert Path(rows[0]["folder"]).name == "plain0"
    lines = report_page.with_suffix(".md").read_text().splitlines()
    assert lines[3] == "| Group | test/accuracy | Std | 95% interval | Seeds | Minutes | Device |"
    assert lines[5:7] == [
        "| width=4 | 0.850 | 0.0707 | 0.215 to 1.485 | 2 | 1.5 | Fast GPU |",
        "| width=32 | 0.700 | - | - | 1 of 2 | 1.5 | Fast GPU |",
    ]
    assert lines[10].startswith("| 1 · width=4 minus 2 · width=32 | 0.150 | – | – | – | – | 1.00, 0.")
    assert lines[10].endswith("| no test with one seed |")
    written = json.loads(report_page.with_suffix(".json").read_text())["recipes"][0]
    plain, wide = written["groups"]
    assert (plain["mean"], plain["results"], plain["interval"]["method"]) == (
        pytest.approx(0.85),
        {"0": 0.8, "1": 0.9},
        "Student's t, 2 seeds",
    )
    assert wide["interval"] is None
    assert written["comparisons"][0]["p"] is None


def scored(make, results):
    """Returns the section of runs with the accuracies {width: values of seeds 0, 1, ...}."""
    return read(
        *(
            make(f"{width} {seed}", [f"width={width}", f"seed={seed}"], accuracy=value, rows=1)
            for width, values in results.items()
            for seed, value in enumerate(values)
        )
    )[0]


def test_best_marks_groups_that_cannot_be_distinguished(make, tmp_path, capsys):
    section = scored(make, {4: [0.5, 0.51, 0.49, 0.5], 8: [0.8, 0.9, 0.7, 0.85], 16: [0.81, 0.9, 0.72, 0.84]})
    assert [group.arguments["width"] for group in section.leaders] == ["8", "16"]
    assert not section.undecidable
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "runs"), f"--output={page}", "--against=width=4"]) == 0
    text = page.read_text()
    assert text.count('class="best"') == 2
    assert "paired t, 4 pairs" in text
    comparisons = json.loads(page.with_suffix(".json").read_text())["recipes"][0]["comparisons"]
    assert [(pair["first"], pair["second"], pair["pairs"]) for pair in comparisons] == [(2, 1, 4), (3, 1, 4)]
    assert main(["report", str(tmp_path / "runs"), f"--output={page}", "--against=width=5"]) == 2
    assert "--against=width=5 does not name a group of these runs" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "runs"), f"--output={page}", "--interval=bca"]) == 2
    assert "interval 'bca' needs 20 seeds, not 4; use 't'" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "runs"), f"--output={page}", "--looks=4,8"]) == 0
    text = page.with_suffix(".md").read_text()
    assert "paired t, 4 pairs, look 1 of 2" in text
    assert "Looks are planned at 4, 8 seeds; p-values and intervals of differences hold at all looks together" in text
    assert main(["report", str(tmp_path / "runs"), f"--output={page}", "--looks=2,3"]) == 2
    assert "--looks plans 3 seeds per group, but 4 are finished" in capsys.readouterr().err


def test_too_few_seeds_distinguish_nothing(make, tmp_path):
    section = scored(make, {4: [0.1], 8: [0.9], 16: [0.5]})
    assert len(section.leaders) == 3
    assert section.undecidable
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "runs"), f"--output={page}"]) == 0
    assert "The seeds are too few to distinguish any group from the best one." in page.read_text()


def test_the_selected_step_is_reported(make, tmp_path):
    make("last")
    path = make("best", ["seed=1"], more={"selected_step": 10})
    assert load.read(path).selected == 10
    report.run([str(tmp_path / "runs")], str(tmp_path / "page.html"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "page.csv").read_text())))
    assert {(row["seed"], row["selected_step"]) for row in rows} == {("0", ""), ("1", "10")}
    assert "20 (best: 10)" in (tmp_path / "page.html").read_text()


EVIL = "=1+1|`<script>alert(1)</script>[x](y)\\n\\x1b[31m"


def test_names_and_settings_are_escaped_in_every_format(make, tmp_path):
    make(
        "a <b>&", [f"split='{EVIL}'", "rate=-0.5"], changes={"devices": {"platform": "gpu", "kind": "@S|", "count": 1}}
    )
    make("b", ["split='+3'", "rate=0.1"])
    report.run([str(tmp_path / "runs")], str(tmp_path / "page.html"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "page.csv").read_text())))
    assert {(row["rate"], row["split"][:4], row["device"]) for row in rows} == {
        ("-0.5", "'=1+", "'@S|"),
        ("0.1", "+3", "Fast GPU"),
    }
    page, text = ((tmp_path / f"page.{kind}").read_text() for kind in ("html", "md"))
    assert "<script>alert" not in page + text
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in page
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [8] * 4 + [10] * 3
    assert r"=1+1\|\`&lt;script>alert(1)&lt;/script>\[x\](y)" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["page.html", "page.csv", "page.md", "page.json"])
def test_a_report_replaces_only_reports(make, tmp_path, name):
    make("run")
    target = tmp_path / "page.html"
    for _ in range(2):
        report.run([str(tmp_path / "runs")], str(target))
    (tmp_path / name).write_text("notes of the user\n")
    before = {path: path.read_bytes() for path in tmp_path.glob("page.*")}
    with pytest.raises(UserError, match=f"{name} exists and was not written by this command; remove it or name"):
        report.run([str(tmp_path / "runs")], str(target))
    assert {path: path.read_bytes() for path in tmp_path.glob("page.*")} == before
    if name == "page.html":
        with pytest.raises(UserError, match="was not written by this command"):
            gallery.run(tmp_path, (), str(target))


def test_each_recipe_has_a_section(make, tmp_path):
    make("run")
    make("other", changes={"recipe": "experiments/cnn/digits.py"})
    make("begun", changes={"recipe": "experiments/cnn/faces.py"}, exit=1, rows=0)
    report.run([str(tmp_path / "runs")], str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text()
    assert "3 runs of 3 recipes" in text
    assert all(f'id="recipe{index}"' in text and f'href="#recipe{index}"' in text for index in range(3))
    assert "No results yet" in text
    assert (tmp_path / "page.md").read_text().count("## ") == 3
    scales = ("--normalize=digits=0.1,1", "--normalize=reported_net=0,1", "--target=validation/accuracy=0.9")
    assert main(["report", str(tmp_path / "runs"), f"--output={tmp_path / 'page.html'}", *scales]) == 0
    text = (tmp_path / "page.md").read_text()
    assert "| (recipe defaults) | 0.894 | - | 2 |" in text.replace("–", "-")
    assert "experiments/cnn/faces.py (no result)" in text
    assert "| (recipe defaults) | 1 of 1 | 10 | 10 to 10 | 0.02 | 0.02 to 0.02 |" in text


def test_groups_far_from_the_best_share_a_color(make, tmp_path):
    paths = [make(f"run{n}", [f"width={n + 1}"], accuracy=n / 10, rows=10) for n in range(10)]
    (section,) = read(*paths)
    assert hues(section) == {1: 7, 2: 7, 3: 7, **{number: number - 4 for number in range(4, 11)}}
    report.run([str(path) for path in paths], str(tmp_path / "page.html"))
    assert "3 others" in (tmp_path / "page.html").read_text()


def test_gallery_shows_every_recipe_with_its_recorded_result(make, tmp_path, capsys):
    recipe = "experiments/cnn/digits.py"
    recorded = make("run", picture=True, changes={"recipe": recipe})
    result = json.loads((recorded / "result.json").read_text())
    digest = summaries(repository_root())[recipe].digests[0]
    rewrite(recorded / "result.json", json.dumps({**result, "state_digest": digest + "0" * 48}))
    make("newer", day=2, picture=True, changes={"recipe": recipe})  # of another state than the recorded ones
    gallery.run(repository_root(), [str(tmp_path / "runs")], str(tmp_path / "gallery.html"))
    assert "1 with its run; 1 run(s) of other results are not shown" in capsys.readouterr().out
    text = (tmp_path / "gallery.html").read_text()
    assert "ConvNet on scikit-learn&#x27;s 8x8 digits" in text
    assert "jaxdl train --config=experiments/rnn/speech.py" in text
    assert text.count("<img ") == 1
    assert "none recorded yet" in text
    card = next(part for part in text.split("<article") if "--config=experiments/cnn/digits.py" in part)
    assert "<b>0.997</b> ± 0.002 test accuracy" in card


# --- usage errors: arguments ({run} and {tmp} are filled in) and the expected message

USAGE_ERRORS = {
    "report without a folder": ("report", r"DIR\.\.\. is missing; usage: jaxdl report DIR"),
    "folder without a run": ("report {tmp}/empty", r"empty contains no run at any depth; runs near it: .*runs/run"),
    "folder that does not exist": ("report {run} {tmp}/nothing", r"nothing is not a folder"),
    "metric that no run has": ("report {run} --metric=test/acuracy", r"no run has it; did you mean 'test/accuracy'\?"),
    "output that is not HTML": ("report {run} --output={tmp}/report.csv", r"is not an HTML file"),
    "output in a missing folder": ("report {run} --output={tmp}/none/a.html", r"cannot write .*use a writable folder"),
    "gallery with a metric": ("report --gallery --metric=test/loss", r"--metric compares runs"),
    "gallery with a folder without runs": ("report --gallery {tmp}/empty", r"empty contains no run"),
}


@pytest.mark.parametrize("name", USAGE_ERRORS)
def test_usage_error_is_one_line(name, make, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments, expected = USAGE_ERRORS[name]
    words = arguments.format(run=make("run", rows=1), tmp=tmp_path).split()
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(expected, line), line


# --- in a browser

FRAMES = """<body style="margin:0">
<iframe src="{page}" style="border:0;width:390px;height:1400px"></iframe>
<iframe src="{page}" style="border:0;width:1280px;height:1400px"></iframe>
<script>onload = () => {{
  const widths = [...document.querySelectorAll('iframe')].map(frame => frame.contentWindow).map(
    own => [own.innerWidth, own.document.documentElement.scrollWidth]);
  document.documentElement.dataset.widths = widths.flat().join(' ');
}}</script>"""


@pytest.mark.skipif(BROWSER is None, reason="requires Chromium on PATH")
def test_page_fits_narrow_and_wide_screens(report_page, tmp_path):
    """Uses frames, since a Chromium window is at least 500 pixels wide."""
    frames, picture = tmp_path / "frames.html", tmp_path / "picture.png"
    frames.write_text(FRAMES.format(page=report_page.name))
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--hide-scrollbars")
    command = [str(BROWSER), *options, f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1680,1400"]
    dom = subprocess.run([*command, "--dump-dom", frames.as_uri()], capture_output=True, text=True, timeout=120).stdout
    widths = re.search(r'data-widths="([\d ]+)"', dom)
    assert widths, dom[:300]
    phone, phone_needs, desk, desk_needs = map(int, widths[1].split())
    assert (phone, desk) == (390, 1280)
    assert phone_needs <= phone
    assert desk_needs <= desk
    subprocess.run([*command, f"--screenshot={picture}", frames.as_uri()], capture_output=True, timeout=120, check=True)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    for left, right in ((0, 390), (400, 1680)):
        screen = pixels[:, left:right].reshape(-1, 3)
        assert len(np.unique(screen, axis=0)) > 50  # an empty page has few colors


def test_crossed_seeds_are_one_group_with_shares_of_the_variance(make, tmp_path):
    for seeds in decomposition.design(5):
        settings = [f"seeds.{source}={seed}" for source, seed in seeds.items()]
        make(" ".join(settings), settings, accuracy=0.5 + 0.1 * seeds["init"] + 0.001 * seeds["noise"] ** 2, rows=1)
    page = tmp_path / "page.html"
    report.run([str(tmp_path / "runs")], str(page))
    (group,) = json.loads(page.with_suffix(".json").read_text())["recipes"][0]["groups"]
    assert len(group["results"]) == 25
    assert group["interval"] is None  # runs that share seeds are not independent
    assert group["variance"]["shares"]["init"]["share"] > 0.95
    for suffix in (".html", ".md"):
        assert "initialization " in page.with_suffix(suffix).read_text()
