"""`jaxdl.train` and `jaxdl.load` in scripts, IPython and threads; resumed and opaque runs."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import jaxdl
from jaxdl.commands import reproduce, sweep
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.launchers import Options
from jaxdl.training.interrupt import Interrupt

# Earlier tests have initialized JAX with other XLA flags.
pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")

ROOT = Path(__file__).parents[1]
RECIPE = "tests/survivor.py"
CELL = """
import flax.linen as nn
import optax
from fiddle.experimental.auto_config import auto_config

import jaxdl
from jaxdl.data.synthetic.images import MockImages
from jaxdl.tasks.image_classification import ImageClassification


class Linear(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(10)(image.reshape(image.shape[0], -1))


@auto_config
def digits(steps: int = 4) -> jaxdl.Experiment:
    return jaxdl.Experiment(
        task=ImageClassification(Linear()),
        data=jaxdl.Data(
            train=MockImages(shape=(8, 8, 1), examples=48),
            evals={"validation": MockImages(shape=(8, 8, 1), examples=21, split="validation")},
            batch_size=16,
        ),
        optimizers={"train": optax.sgd(0.1)},
        steps=steps,
    )
"""
TRAINED = """
run = jaxdl.train(digits, "run", settings={"steps": 6}, progress=False)
assert run.step == 6
assert run.metrics["validation"]["accuracy"] == jaxdl.load("run").metrics["validation"]["accuracy"]
assert run.params["classifier"]["Dense_0"]["kernel"].shape == (64, 10)
"""


@pytest.fixture
def config(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_recipe(RECIPE).module.experiment.as_buildable(steps=4)
    config.save_every = 2
    return config


def run_python(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_importing_jaxdl_imports_no_jax_and_shadows_no_package():
    code = (
        "import sys, jaxdl; assert 'jax' not in sys.modules; assert callable(jaxdl.train);"
        "import jaxdl.training.loop, jaxdl.tasks, jaxdl.data; assert callable(jaxdl.train) and callable(jaxdl.load)"
    )
    process = run_python(ROOT, "-c", code)
    assert process.returncode == 0, process.stderr


def test_every_public_name_is_exported():
    assert all(getattr(jaxdl, name) is not None for name in jaxdl.__all__)
    assert set(jaxdl.__all__) <= set(dir(jaxdl))
    with pytest.raises(AttributeError, match="no attribute 'Experimint'"):
        _ = jaxdl.Experimint


def test_a_config_trains_and_loads_from_its_folder(config, tmp_path):
    run = jaxdl.train(config, tmp_path / "run", progress=False)
    loaded = jaxdl.load(tmp_path / "run")
    assert type(loaded) is type(run)
    assert run.step == loaded.step == 4
    assert run.metrics == loaded.metrics
    (group,) = run.params
    assert jaxdl.load(tmp_path / "run", step=2).step == 2
    shape = run.trained.record["batch"]["image"][0]
    images = np.zeros((3, *shape), np.uint8)
    single = run.predict(images[0])
    assert len(run.predict(images)) == 3
    np.testing.assert_array_equal(single[0]["probabilities"], loaded.predict([images[0]])[0]["probabilities"])
    assert group in loaded.params
    with pytest.raises(jaxdl.UserError, match="pass uint8"):
        run.predict(images.astype(float))


def test_a_recipe_path_trains_a_run_that_the_command_line_reproduces(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = jaxdl.train(RECIPE, tmp_path / "run", settings={"steps": 4}, progress=False)
    manifest_content = json.loads((run.path / "manifest.json").read_text())
    assert manifest_content["recipe"] == RECIPE
    assert manifest_content["overrides"] == ["steps=4"]
    assert isinstance(manifest_content["absent_settings"], list)
    reproduce.run(str(run.path), dry_run=True)


def test_a_second_call_resumes_an_interrupted_run(config, tmp_path, monkeypatch):
    jaxdl.train(config, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "stops", lambda self, step: step == 2)
        with pytest.raises(jaxdl.Preempted):
            jaxdl.train(config, tmp_path / "halves", progress=False)
    jaxdl.train(config, tmp_path / "halves", progress=False)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "halves")]
    assert results[0]["state_digest"] == results[1]["state_digest"]
    attempts = json.loads((tmp_path / "halves" / "manifest.json").read_text())["attempts"]
    assert [(attempt["first_step"], attempt["exit"]) for attempt in attempts] == [(0, 75), (2, 0)]
    config.steps = 8
    with pytest.raises(jaxdl.UserError, match="steps was 4 and is 8"):
        jaxdl.train(config, tmp_path / "halves", progress=False)


def test_training_works_in_a_thread(config, tmp_path):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(jaxdl.train(config, tmp_path / "run", progress=False)))
    thread.start()
    thread.join()
    assert runs[0].step == 4


def test_the_run_of_an_experiment_object_is_opaque(config, tmp_path, monkeypatch):
    experiment = build(config)
    with pytest.raises(jaxdl.UserError, match="pass workdir"):
        jaxdl.train(experiment)
    run = jaxdl.train(experiment, tmp_path / "run", progress=False)
    assert run.step == 4
    assert jaxdl.load(run.path, experiment=experiment).metrics == run.metrics
    with pytest.raises(jaxdl.UserError, match=r"opaque.*load\(RUN, experiment=...\)"):
        jaxdl.load(run.path)
    with pytest.raises(jaxdl.UserError, match="opaque"):
        reproduce.run(str(run.path))
    config.data.batch_size = 8
    with pytest.raises(jaxdl.UserError, match="batch_size"):
        jaxdl.load(run.path, experiment=build(config))
    (planned,) = sweep.runs(RECIPE, ["steps=4"], ["seed=0"], tmp_path)
    run.path.rename(planned.folder)
    with pytest.raises(jaxdl.UserError, match="opaque"):
        sweep.run(RECIPE, ["steps=4"], ["seed=0"], str(tmp_path), "local", Options())


def test_a_function_of_main_loads_if_it_is_passed(tmp_path):
    (tmp_path / "script.py").write_text(
        f"{CELL}\nif __name__ == '__main__':\n{TRAINED.replace(chr(10), chr(10) + '    ')}"
    )
    process = run_python(tmp_path, "script.py")
    assert process.returncode == 0, process.stderr
    with pytest.raises(
        jaxdl.UserError, match=r"does not match the installed code: .*jaxdl.load\(RUN, experiment=...\)"
    ):
        jaxdl.load(tmp_path / "run")
    repeated = run_python(tmp_path, "script.py")  # finished: skipped
    assert repeated.returncode == 0, repeated.stderr
    (tmp_path / "other.py").write_text(
        f"{CELL}\nassert jaxdl.load('run', experiment=digits.as_buildable(steps=6)).step == 6\n"
        "try:\n    jaxdl.load('run', experiment=digits)\nexcept jaxdl.UserError as error:\n    print(error)\n"
    )
    process = run_python(tmp_path, "other.py")
    assert process.returncode == 0, process.stderr
    assert "was trained with steps=6, but the experiment passed has 4" in process.stdout


def test_training_works_in_ipython(tmp_path):
    pytest.importorskip("IPython")
    cells = [CELL, TRAINED, "run.predict(np.zeros((2, 8, 8, 1), np.uint8))[1]['label']"]
    code = (
        "import numpy as np\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {['import numpy as np', *cells]!r}:\n"
        "    shell.run_cell(cell, store_history=True).raise_error()\n"
    )
    (tmp_path / "cells.py").write_text(code)
    process = run_python(tmp_path, "cells.py")
    assert process.returncode == 0, process.stdout + process.stderr


def test_untrainable_arguments_are_refused():
    with pytest.raises(jaxdl.UserError, match="cannot train a int"):
        jaxdl.train(3)
