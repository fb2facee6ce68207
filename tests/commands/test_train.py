"""Training: errors in user models, seeds, checkpoint metrics and code changes."""

import dataclasses
import sys
from contextlib import nullcontext

import pytest

from jaxdl.commands import train
from jaxdl.commands.cli import main
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe, repository_root
from jaxdl.errors import UserError
from jaxdl.runs.examples import read as read_examples
from jaxdl.runs.folder import RunFolder
from jaxdl.testing import tiny
from jaxdl.training.loop import check, make_program
from jaxdl.training.sources import load_sources

RECIPE = """
import flax.linen as nn
import jax.numpy as jnp
import optax
from fiddle.experimental.auto_config import auto_config
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.tasks.image_classification import ImageClassification

class Net(nn.Module):
    kind: str
    width: int = 10

    @nn.compact
    def __call__(self, image, train):
        flat = image.reshape(len(image), -1)
        if self.kind == "shape":
            return flat @ jnp.ones((3, 10))
        if self.kind == "training" and train:
            raise RuntimeError("no training\\n today")
        if self.kind == "evaluation" and not train and not self.is_initializing():
            return {}["classes"]
        return nn.Dense(10)(nn.Dense(self.width)(flat))

@auto_config
def experiment(steps: int = 4, kind: str = "", metric: str = "validation/accuracy", seed: int = 0, width: int = 10):
    return Experiment(
        task=ImageClassification(Net(kind, width)),
        data=Data(train=Dataset("digits", "train"), evals={"validation": Dataset("digits", "test[:50]")}, batch_size=8),
        optimizers={"train": optax.sgd(0.1)},
        steps=steps,
        seed=seed,
        log_every=1,
        eval_every=4,
        keep=CheckpointPolicy(metric=metric),
    )
"""


def test_a_run_folder_that_is_moved_during_training_ends_it_in_one_line(tmp_path, monkeypatch, capsys):
    def moves(experiment, folder, *arguments, **options):
        (tmp_path / "run").rename(tmp_path / "moved")
        folder.write(1, "train", {"loss": 1.0})

    monkeypatch.setattr(train, "train", moves)
    monkeypatch.chdir(repository_root())
    assert main(["--config=tests/survivor.py", f"--workdir={tmp_path / 'run'}"]) == 2
    assert "moved, deleted or replaced during training" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the recipe, which is imported once."""
    path = tmp_path_factory.mktemp("recipe")
    yield path
    sys.modules.pop("dense_net", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(path)]


@pytest.fixture
def recipe(folder):
    (folder / "dense_net.py").write_text(RECIPE)
    return folder / "dense_net.py"


def refusal(capsys, recipe, workdir, *settings, flags=()):
    """Returns the last line on standard error of a run that is refused."""
    arguments = [f"--config={recipe}", f"--workdir={workdir}", *(f"--set={text}" for text in settings), *flags]
    assert main(arguments) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", "TypeError: dot_general requires contracting dimensions"),
        ("training", "RuntimeError: no training today; --debug shows the traceback"),
        ("evaluation", "KeyError: 'classes'; --debug shows the traceback"),
    ],
)
def test_an_error_of_the_user_s_model_is_one_line_with_its_place(recipe, tmp_path, kind, message, capsys):
    place, _, text = refusal(capsys, recipe, tmp_path / "run", f"kind={kind}", "keep.metric=None").partition(": ")
    assert place.partition(":")[0].endswith("dense_net.py")
    assert text.startswith(message)


def test_a_metric_that_the_evaluation_does_not_return_is_refused_before_step_1(recipe, tmp_path, capsys):
    line = refusal(capsys, recipe, tmp_path / "run", "metric=validation/acuracy")
    assert line == (
        "keep.metric: the evaluation 'validation' has no metric 'acuracy'; did you mean 'accuracy'?"
        " names that exist: accuracy, loss"
    )
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(("metric", "refused"), [("blue", True), ("bleu", False)])
def test_corpus_metrics_are_known_before_step_1(metric, refused):
    experiment = build(tiny(load_recipe("experiments/rnn/captions.py")))
    kept = dataclasses.replace(experiment.keep, metric=f"validation/{metric}")
    sources = load_sources(experiment.data)
    program = make_program(dataclasses.replace(experiment, keep=kept), sources)
    with pytest.raises(UserError, match="no metric 'blue'; did you mean 'bleu'") if refused else nullcontext():
        check(program, sources)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_have_32_bits(recipe, tmp_path, seed, capsys):
    assert refusal(capsys, recipe, tmp_path / "run", f"seed={seed}").startswith(f"seed is {seed}; expected at ")


def test_the_largest_seed_trains(recipe, tmp_path):
    result = train.run(str(recipe), [f"seed={2**32 - 1}", "steps=1", "keep.metric=None"], str(tmp_path / "run"))
    assert result["step"] == 1
    assert RunFolder.open(tmp_path / "run").manifest()["seed"] == 2**32 - 1


def test_metrics_of_every_example_are_stored(recipe, tmp_path, capsys):
    run = tmp_path / "run"
    result = train.run(str(recipe), ["steps=1", "keep.metric=None"], str(run))
    assert main(["eval", str(run), "--examples"]) == 0
    assert f"metrics of every example in {run / 'examples.npz'}" in capsys.readouterr().out
    [(split, metrics)] = result["metrics"].items()
    for name, value in metrics.items():
        stored = read_examples(run, f"{split}/{name}")
        assert stored is not None
        assert stored.value == pytest.approx(value, rel=1e-5)
    assert train.run(str(recipe), ["steps=1", "keep.metric=None"], str(run)) == result  # the file belongs to the run
    assert main(["eval", str(run), "--examples", "--step=1"]) == 2
    assert "--examples stores the evaluations of the recipe; drop --step" in capsys.readouterr().err


def test_changed_code_and_shapes_are_reported_when_a_run_is_resumed(recipe, tmp_path, capsys):
    arguments = [f"--config={recipe}", f"--workdir={tmp_path / 'run'}"]
    assert main([*arguments, "--set=steps=2"]) == 0
    assert "has changed" not in capsys.readouterr().err
    recipe.write_text(f"{RECIPE}\n# an edit")
    assert main(["eval", str(tmp_path / "run"), "--format=json"]) == 2
    assert "dense_net.py (Net); read it, then pass --trust" in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "run"), "--format=json", "--trust"]) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "run has changed since it was trained: dense_net (then " in warning
    line = refusal(capsys, recipe, tmp_path / "run", "width=12", flags=["--allow=config"])
    assert "params/classifier/Dense_0/kernel is (10, 10) there and (12, 10) here" in line
    assert "width = 12" not in (tmp_path / "run" / "config.txt").read_text()
