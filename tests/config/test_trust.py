"""Code in the run folders of other people: it runs only after consent. Every exploit would create a marker file."""

import csv
import dataclasses
import importlib.util
import io
import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import fiddle as fdl
import numpy as np
import pytest
from run_files import rewrite

import jaxdl
from jaxdl.commands.cli import main
from jaxdl.config import describe, resolve, trust
from jaxdl.config.recipes import load_recipe, repository_root
from jaxdl.config.serialize import accept, from_json, to_json
from jaxdl.config.symbols import is_listed
from jaxdl.data.dataset import Dataset
from jaxdl.data.formats.token_file import write_tokens
from jaxdl.data.store.prepared import check_features
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.errors import UserError
from jaxdl.launchers import Job, Options, local
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.git import git

DIGITS = "experiments/cnn/digits.py"
RECIPE = """
from fiddle.experimental.auto_config import auto_config
from jaxdl import Data, Experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import sgd
from {net} import Net

@auto_config
def experiment(steps: int = 2):
    return Experiment(
        task=ImageClassification(Net()),
        data=Data(train=MockImages(examples=8), evals={{}}, batch_size=8),
        optimizers={{"train": sgd(0.1, steps=steps)}},
        steps=steps,
    )
"""
NET = """
import flax.linen as nn

class Net(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(10)(image.reshape(image.shape[0], -1) / 255)
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Folder of another person. Modules imported from it are removed after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    folder = tmp_path / "theirs"
    folder.mkdir()
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def creates(marker):
    """Returns code that creates the marker."""
    return f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"


def write_run(folder, change=lambda config: None, recipe=DIGITS):
    """Writes the files of a finished run of digits with another recipe and a changed configuration."""
    config = resolve(DIGITS, ["steps=2"])
    change(config)
    (folder / "checkpoints").mkdir(parents=True)
    rewrite(folder / "config.json", to_json(config, str(recipe)))
    rewrite(folder / "config.txt", describe(config))
    attempt = {"start": "2030-01-02T10:00:00.000Z", "end": "2030-01-02T10:01:00.000Z", "first_step": 0, "exit": 0}
    devices = {"platform": "gpu", "kind": "GPU", "count": 1}
    manifest = {"recipe": str(recipe), "modules": {}, "attempts": [attempt], "devices": devices, "seed": 0}
    rewrite(folder / "manifest.json", json.dumps({**manifest, "code": {"commit": None, "dirty": None}}))
    rewrite(folder / "result.json", json.dumps({"step": 2, "metrics": {"test": {"loss": 1.0}}, "seconds": 60}))
    return folder


def calling(function, *arguments, **named):
    """Returns a change that calls a function when the experiment is built."""

    def change(config):
        config.data.augment = (fdl.Config(function, *arguments, **named),)

    return change


def write_recipe(folder, name):
    """Writes a harmless recipe with its model, and returns it."""
    (folder / f"{name}_net.py").write_text(NET)
    recipe = folder / f"{name}.py"
    recipe.write_text(RECIPE.format(net=f"{name}_net"))
    return recipe


# Each writes the files of an attack and returns a command line and a part of the refusal.


def recipe_beside_the_run(theirs, marker):
    recipe = write_recipe(theirs, "tulips_a")
    recipe.write_text(creates(marker) + recipe.read_text())
    return ("eval", write_run(theirs / "run", recipe=recipe)), "tulips_a.py"


def recipe_in_the_folder_of_runs_of_the_repository(theirs, marker):
    name = "benchmarks/../" + os.path.relpath(recipe_beside_the_run(theirs, marker)[0][1].parent, repository_root())
    return ("eval", write_run(theirs / "other", recipe=f"{name}/tulips_a.py")), "tulips_a.py"


def recipe_that_is_any_installed_module(theirs, marker):
    (theirs / "tulips_b.py").write_text(creates(marker))
    sys.path.append(str(theirs))
    return ("eval", write_run(theirs / "run", recipe="tulips_b")), "tulips_b.py"


def recipe_of_the_working_folder(theirs, marker):
    os.chdir(theirs)
    (theirs / "experiments/cnn").mkdir(parents=True)
    (theirs / "experiments/cnn/_shadow.py").write_text(creates(marker))
    return ("eval", write_run(theirs / "run", recipe="experiments/cnn/_shadow.py")), "does not exist"


def function_that_runs_a_program(theirs, marker):
    return ("eval", write_run(theirs / "run", calling(subprocess.call, ["touch", str(marker)]))), "subprocess.call"


def function_that_unpickles(theirs, marker):
    class Payload:
        def __reduce__(self):
            return exec, (creates(marker),)

    np.save(theirs / "array.npy", np.array([Payload()], object), allow_pickle=True)
    change = calling(np.load, str(theirs / "array.npy"), allow_pickle=True)
    return ("predict", write_run(theirs / "run", change), "--samples=1"), "numpy.load"


def launcher_of_jaxdl(theirs, marker):
    job = fdl.Config(Job, "a", ["touch", str(marker)], fdl.Config(Path, str(theirs)), 1)
    change = calling(local.launch, [job], fdl.Config(Options))
    words = ("export", write_run(theirs / "run", change), "--to=stablehlo", f"--output={theirs / 'out'}")
    return words, "jaxdl.launchers.local.launch"


def function_of_jaxdl_that_writes_files(theirs, marker):
    change = calling(write_tokens, str(marker), MockText(), Vocabulary(Characters(99), MockText()))
    return ("explain", write_run(theirs / "run", change), "--text=a"), "token_file.write_tokens"


def class_of_a_module_in_the_search_path(theirs, marker):
    (theirs / "tulips_c.py").write_text("class Flip:\n    pass\n")
    sys.path.append(str(theirs))
    change = calling(importlib.import_module("tulips_c").Flip)
    run = write_run(theirs / "run", change)
    del sys.modules["tulips_c"]
    (theirs / "tulips_c.py").write_text(creates(marker) + "class Flip:\n    pass\n")
    return ("reproduce", run, "--dry_run"), "tulips_c.py (Flip)"


def builder_of_a_data_set(theirs, marker):
    (theirs / "tulips_d").mkdir()
    (theirs / "tulips_d/__init__.py").write_text(creates(marker))
    (theirs / "tulips_d/flowers.py").touch()
    sys.path.append(str(theirs))

    def change(config):
        config.data.train.name = "tulips_d.flowers"

    return ("reproduce", write_run(theirs / "run", change), "--dry_run"), "tulips_d/flowers.py"


def attribute_of_a_trusted_module(theirs, marker):
    change = calling(subprocess.call, ["touch", str(marker)])
    run = write_run(theirs / "run", change)
    text = (run / "config.json").read_text()
    text = text.replace('"module": "subprocess"', '"module": "jaxdl.metrics.javascript"')
    rewrite(run / "config.json", text.replace('"name": "call"', '"name": "subprocess.call"'))
    return ("eval", run), "jaxdl.metrics.javascript.subprocess.call"


ATTACKS = [
    recipe_beside_the_run,
    recipe_in_the_folder_of_runs_of_the_repository,
    recipe_that_is_any_installed_module,
    recipe_of_the_working_folder,
    function_that_runs_a_program,
    function_that_unpickles,
    launcher_of_jaxdl,
    function_of_jaxdl_that_writes_files,
    class_of_a_module_in_the_search_path,
    builder_of_a_data_set,
    attribute_of_a_trusted_module,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_code_of_another_person_is_refused_before_it_is_imported(attack, theirs, marker, capsys, monkeypatch):
    monkeypatch.chdir(theirs)
    words, names = attack(theirs, marker)
    code = main([str(word) for word in words])
    assert not marker.exists()
    error = capsys.readouterr().err
    assert code == 2
    assert names in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["diff", "report", "curves", "verify"])
def test_commands_that_only_read_import_no_code_of_a_run(command, theirs, marker, capsys, monkeypatch):
    monkeypatch.chdir(theirs)
    recipe = write_recipe(theirs, "tulips_e")
    recipe.write_text(creates(marker) + recipe.read_text())
    (theirs / "tulips_m").mkdir()
    (theirs / "tulips_m/__init__.py").write_text(creates(marker))
    (theirs / "tulips_m/flowers.py").touch()
    sys.path.append(str(theirs))
    change = calling(subprocess.call, ["touch", str(marker)])
    runs = [write_run(theirs / f"run{len(str(name))}", change, name) for name in (recipe, "tulips_m.flowers")]
    main([command, *map(str, runs if command != "verify" else runs[:1])])
    assert not marker.exists()
    assert "--trust" not in capsys.readouterr().err


def trusted_config(recipe):
    """Returns the text of a config.json of a recipe that the user has trusted; nothing is imported any more."""
    loaded = load_recipe(str(recipe))
    text = to_json(resolve(loaded), loaded.name)
    accept(text)
    sys.path.remove(str(recipe.parent))
    for name in (recipe.stem, f"{recipe.stem}_net"):
        del sys.modules[name]
    return text


def test_an_edit_of_a_module_beside_the_recipe_needs_trust_again(theirs, marker):
    text = trusted_config(write_recipe(theirs, "tulips_f"))
    assert from_json(text).recipe == str(theirs / "tulips_f.py")
    net = theirs / "tulips_f_net.py"
    net.write_text(creates(marker) + net.read_text())
    with pytest.raises(UserError, match=r"has changed since: \S*tulips_f_net\.py \(Net\); read it, then"):
        from_json(text)
    assert not marker.exists()
    accept(text)
    from_json(text)


def test_bytecode_beside_a_trusted_recipe_does_not_run(theirs, marker):
    recipe = write_recipe(theirs, "tulips_g")
    text = trusted_config(recipe)
    (theirs / "other.py").write_text(creates(marker) + recipe.read_text())
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(theirs / "other.py"), importlib.util.cache_from_source(recipe), invalidation_mode=mode)
    from_json(text)
    assert not marker.exists()


def test_a_file_beside_a_trusted_recipe_is_not_imported_in_place_of_a_package(theirs, marker):
    text = trusted_config(write_recipe(theirs, "tulips_h"))
    (theirs / "optional_package_h.py").write_text(creates(marker))
    from_json(text)
    with pytest.raises(UserError, match=r"optional_package_h\.py would be imported, but it is not among the trusted"):
        importlib.import_module("optional_package_h")
    assert not marker.exists()
    load_recipe(str(theirs / "tulips_h.py"))
    importlib.import_module("optional_package_h")


def test_own_runs_are_trusted_from_training_on(theirs, marker, capsys, monkeypatch):
    recipe = write_recipe(theirs, "tulips_i")
    run = theirs / "run"
    assert main((f"--config={recipe}", f"--workdir={run}")) == 0
    assert main(("eval", str(run), "--split=train")) == 0
    monkeypatch.setenv("XDG_CONFIG_HOME", str(theirs / "of another user"))
    monkeypatch.setattr(trust, "trusted_here", set())  # as in another process
    capsys.readouterr()
    assert main(("eval", str(run), "--split=train")) == 2
    assert f"{recipe}, {recipe.with_name('tulips_i_net.py')} (Net); read it" in capsys.readouterr().err
    with pytest.raises(UserError, match="trust=True"):
        jaxdl.load(run)
    assert main(("eval", str(run), "--split=train", "--trust")) == 0
    assert jaxdl.load(run).step == 2


def test_trust_that_cannot_be_saved_does_not_end_the_command(theirs, marker, capsys, monkeypatch):
    (theirs / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(theirs / "file"))
    text = trusted_config(write_recipe(theirs, "tulips_j"))
    from_json(text)
    assert "warning: cannot remember trusted code" in capsys.readouterr().err


@pytest.mark.parametrize("link", ["metrics.jsonl", "pictures", "checkpoints", "damaged", "background.log"])
def test_training_does_not_write_through_links_out_of_the_run_folder(link, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    if "." in link:
        elsewhere.write_text("mine")
    else:
        elsewhere.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    (tmp_path / "run" / link).symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"{link} is a symbolic link out of the run folder"):
        RunFolder(tmp_path / "run")
    RunFolder(tmp_path / "other").close()
    (tmp_path / "linked").symlink_to(tmp_path / "other")
    RunFolder(tmp_path / "linked").close()


def test_reports_are_escaped_and_do_not_follow_links(theirs, marker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private.txt").write_text("secret")
    for number, recipe in enumerate(("=cmd()|'/c calc'!A0", "<script>alert(1)</script>")):
        run = write_run(theirs / f"run{number}", recipe=recipe)
        (run / "result.json").unlink()
        (run / "run.log").symlink_to(tmp_path / "private.txt")
    assert main(("report", str(theirs))) == 0
    page, table, text = (Path(f"report.{kind}").read_text() for kind in ("html", "csv", "md"))
    assert "secret" not in page
    assert "<script>alert" not in page + text
    assert {row["recipe"] for row in csv.DictReader(io.StringIO(table))} == {
        "'=cmd()|'/c calc'!A0",
        "<script>alert(1)</script>",
    }


def test_a_file_in_the_working_folder_does_not_replace_a_module_of_python(theirs, marker):
    (theirs / "textwrap.py").write_text(creates(marker) + "raise SystemExit(3)")
    environment = {**os.environ, "PYTHONPATH": str(repository_root())}
    command = [sys.executable, "-m", "jaxdl", "--help"]
    done = subprocess.run(command, cwd=theirs, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, marker.exists()) == (0, False), done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_runs_no_program_of_a_repository(theirs, marker):
    hook = theirs / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    for words in (["init", "-q"], ["add", "hook"], ["config", "core.fsmonitor", str(hook)]):
        subprocess.run(["git", "-C", str(theirs), *words], check=True)
    marker.unlink(missing_ok=True)
    git(theirs, "status", "--porcelain")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["tfds:../theirs", "tfds:kaggle:flowers", "tulips.a:b"])
def test_names_of_data_sets_are_no_paths_and_no_code(name):
    with pytest.raises(UserError, match=r"data set .* does not exist"):
        Dataset(name, "train").load()


def test_features_of_a_prepared_data_set_import_no_module(tmp_path, marker):
    feature = {"pythonClassName": "tulips_k.Feature", "python_class_name": "tensorflow_datasets.core.features.Text"}
    (tmp_path / "features.json").write_text(json.dumps({"featuresDict": {"features": {"image": feature}}}))
    with pytest.raises(UserError, match="names code in tulips_k, which is not of TFDS"):
        check_features(tmp_path)


def test_a_new_model_or_task_of_jaxdl_is_listed_by_its_place(monkeypatch):
    module = importlib.import_module("jaxdl.models.convnet")
    new = dataclasses.make_dataclass("New", ["width"])
    new.__module__ = "jaxdl.models.convnet"
    monkeypatch.setattr(module, "New", new, raising=False)
    assert is_listed("jaxdl.models.convnet", "New")
    assert is_listed("jaxdl.training.optimizers", "adam")
    for symbol in (
        ("jaxdl.models.convnet", "nn"),
        ("jaxdl.models.convnet", "New.__init__"),
        ("jaxdl.models.convnet", "_Block"),
        ("jaxdl.data.store.builders", "prepare"),
        ("jaxdl.data.dataset", "origin"),
        ("jaxdl.training.checkpoint", "Checkpoints"),
        ("jaxdl.commands.train", "run"),
        ("numpy", "load"),
        ("optax", "numpy"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
    ):
        assert not is_listed(*symbol), symbol


def test_a_class_that_this_process_cannot_import_is_reported_as_missing(theirs, marker):
    (theirs / "tulips_n_net.py").write_text(NET)
    sys.path.append(str(theirs))
    config = resolve(DIGITS, ["steps=2"])
    config.task.model = fdl.Config(importlib.import_module("tulips_n_net").Net)
    text = to_json(config, "")
    accept(text)
    sys.path.remove(str(theirs))
    del sys.modules["tulips_n_net"]
    with pytest.raises(UserError, match=r"does not match the installed code: .*tulips_n_net.*experiment="):
        from_json(text)
