"""Runs trained together equal runs trained alone, in every mode, after kills and beside a run that fails."""

import dataclasses
import itertools
import json
from typing import Any

import fiddle as fdl
import jax
import numpy as np
import pytest

from jaxdl.commands import sweep, together, train
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.config.varying import with_numbers
from jaxdl.errors import Failed, UserError
from jaxdl.runs.folder import RunFolder, share_of_time
from jaxdl.testing import tiny
from jaxdl.testing.laws import Bench, without_dropout
from jaxdl.training.joint import JointProgram
from jaxdl.training.meters import CLOCKED
from jaxdl.training.session import Session
from jaxdl.training.sources import load_sources, training_batches

LINEAR = '''
"""A linear classifier.

Result: none recorded yet
"""

import flax.linen as nn
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl import Data, Experiment
from jaxdl.data.synthetic.images import MockImages
from jaxdl.tasks.image_classification import ImageClassification


class Linear(nn.Module):
    features: int = 10

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(self.features)(image.reshape(image.shape[0], -1))


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(10)(nn.Conv(4, (3, 3))(image).mean((1, 2)))


def model(convolutions: bool) -> nn.Module:
    return ConvNet() if convolutions else Linear()


@auto_config
def experiment(convolutions: bool = False, seed: int = 0):
    images = MockImages(examples=40)
    return Experiment(
        task=ImageClassification(model(convolutions)),
        data=Data(train=images, evals={"validation": images}, batch_size=8),
        optimizers={"train": optax.adamw(0.01, weight_decay=0.1)},
        steps=6,
        seed=seed,
        eval_every=2,
        save_every=2,
    )
'''
POINTS = (
    "seed=0",
    "seed=1 optimizers.train.learning_rate=0.02",
    "seeds.order=7 optimizers.train.weight_decay=0.5",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "linear_together.py"
    path.write_text(LINEAR)
    return str(path)


def alone(recipe, point, folder, settings=()):
    train.run(recipe, [*settings, *point.split()], workdir=str(folder))
    return folder


def rows(folder):
    """Metrics of a run, without times."""
    return [
        {name: value for name, value in row.items() if name not in CLOCKED} for row in RunFolder.open(folder).rows()
    ]


def result(folder) -> dict[str, Any]:
    found = RunFolder.open(folder).result()
    assert found is not None
    return found


def mode(folder):
    return json.loads((folder / "manifest.json").read_text())["together"]


def assert_close(folder, other):
    for row, expected in zip(rows(folder), rows(other), strict=True):
        assert (row.pop("split"), row.pop("step")) == (expected.pop("split"), expected.pop("step"))
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)


def folders_of(recipe, points, folder, settings=()):
    """Run folders of points, in their order."""
    described = load_recipe(recipe)
    return [sweep.describe(described, settings, folder, point.split()).folder for point in points]


@pytest.fixture(scope="module")
def references(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return [alone(recipe, point, folder / str(number)) for number, point in enumerate(POINTS)]


def test_runs_at_once_equal_runs_alone(recipe, references, tmp_path):
    together.run(together.Runs(recipe, [], POINTS, str(tmp_path)))
    for folder, reference in zip(folders_of(recipe, POINTS, tmp_path), references, strict=True):
        assert mode(folder) == {"runs": 3, "mode": "at once"}
        assert_close(folder, reference)
        assert result(folder)["tflop"] == result(reference)["tflop"]
        assert result(folder)["together"] == 3
        assert share_of_time(result(folder)) == result(folder)["seconds"] / 3
    # Each is an ordinary run, which its own command finds finished and could resume.
    assert train.run(recipe, POINTS[0].split(), workdir=str(folders_of(recipe, POINTS, tmp_path)[0]))["step"] == 6


def test_convolutions_on_cpu_are_trained_in_turn_with_the_bits_of_runs_alone(recipe, tmp_path, capsys):
    settings = ["convolutions=True"]
    together.run(together.Runs(recipe, settings, POINTS, str(tmp_path / "together")))
    assert "in turn (on CPU, convolutions" in capsys.readouterr().out
    for point, folder in zip(POINTS, folders_of(recipe, POINTS, tmp_path / "together", settings), strict=True):
        reference = alone(recipe, point, tmp_path / folder.name, settings)
        assert mode(folder)["mode"] == "in turn"
        assert result(folder)["state_digest"] == result(reference)["state_digest"]


def test_code_that_depends_on_a_number_is_trained_in_turn(recipe, tmp_path, capsys):
    branching = tmp_path / "branching_together.py"
    decay = "def halved(rate: float):\n    return optax.sgd(rate / 2 if rate < 1 else rate)\n\n\n"
    text = LINEAR.replace("@auto_config", f"{decay}@auto_config").replace(
        "optax.adamw(0.01, weight_decay=0.1)", "halved(0.01)"
    )
    branching.write_text(text)
    points = ["optimizers.train.rate=0.1", "optimizers.train.rate=0.2"]
    together.run(together.Runs(str(branching), [], points, str(tmp_path / "together")))
    assert "in turn (the optimizer's code depends on optimizers.train.rate)" in capsys.readouterr().out
    folder = folders_of(str(branching), points, tmp_path / "together")[1]
    reference = alone(str(branching), points[1], tmp_path / "alone")
    assert result(folder)["state_digest"] == result(reference)["state_digest"]


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.mark.parametrize("saves", [1, 5])
def test_a_kill_between_the_saves_of_two_runs(recipe, references, tmp_path, monkeypatch, saves):
    count, save = itertools.count(1), Session.save

    def killed(session, step, state):
        save(session, step, state)
        session.checkpoints.wait()
        if next(count) == saves:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Session, "save", killed)
        with pytest.raises(Killed):
            together.run(together.Runs(recipe, [], POINTS, str(tmp_path)))
    together.run(together.Runs(recipe, [], POINTS, str(tmp_path)))
    for folder, reference in zip(folders_of(recipe, POINTS, tmp_path), references, strict=True):
        assert_close(folder, reference)


def test_a_run_that_diverges_ends_alone(recipe, references, tmp_path):
    points = [POINTS[0], "seed=3 optimizers.train.learning_rate=1e38", POINTS[2]]
    with pytest.raises(Failed, match=r"1 of 3 runs failed: .*linear_together-\w+ \(step \d, phase train: loss "):
        together.run(together.Runs(recipe, [], points, str(tmp_path)))
    good, bad, other = folders_of(recipe, points, tmp_path)
    assert_close(good, references[0])
    assert_close(other, references[2])
    assert RunFolder.open(bad).result() is None
    assert json.loads((bad / "manifest.json").read_text())["attempts"][0]["exit"] == 1


def test_runs_of_different_models_or_data_are_refused(recipe, tmp_path):
    for setting in ("convolutions=True", "data.batch_size=4", "steps=4"):
        with pytest.raises(UserError, match=r"not in \S+; train them in separate processes"):
            together.run(together.Runs(recipe, [], ["seed=0", setting], str(tmp_path)))
    with pytest.raises(UserError, match=r"--each=seed=0 and another --each are the same run; drop one"):
        together.run(together.Runs(recipe, [], ["seed=0", "seed=1", "seed=0"], str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_sweep_groups_what_can_be_trained_together(recipe, tmp_path):
    grid = ["seed=0..2", "data.batch_size=4,8", "optimizers.train.learning_rate=0.1,0.2"]
    planned = sweep.runs(recipe, ["steps=2"], grid, tmp_path)
    groups = sweep.groups(planned, 4)
    assert [len(group) for group in groups] == [4, 2, 4, 2]
    for group in groups:
        assert len({setting for run in group for setting in run.settings if "batch_size" in setting}) == 1
    assert [len(group) for group in sweep.groups(planned, 1)] == [1] * 12


@pytest.mark.parametrize("name", ["rnn/austen_chars", "gan/fashion_dcgan", "autoencoder/fashion_vae", "cnn/digits"])
def test_the_joint_step_of_every_kind_of_state(name):
    """Carried state, several phases, batch statistics and moving averages."""
    config = without_dropout(tiny(load_recipe(f"experiments/{name}.py")))
    base = build(config)
    phase = base.task.phases[0].name
    path = f"optimizers.{phase}.learning_rate"
    rates = [3e-4, 1e-3]
    experiments = [
        dataclasses.replace(build(with_numbers(config, {path: rate})), seed=seed)
        for seed, rate in zip((4, 2**32 - 1), rates)
    ]
    sources = load_sources(base.data)
    program = Bench(experiments[0]).program()
    programs = [program, program.like(experiments[1], same_step=False)]

    def optimizers(numbers):
        changed = with_numbers(config, numbers)
        return fdl.build((changed.optimizers, changed.ema))

    joint = JointProgram(program, experiments, [{path: rate} for rate in rates], optimizers)
    state, batches = joint.stack([one.init() for one in programs]), joint.batches(sources, 0)
    for step in range(3):
        state, _ = joint.step(state, joint.place(batches.at(step)))
    for one, together_, experiment in zip(programs, joint.split(state), experiments, strict=True):
        single, own = one.init(), training_batches(sources.train, experiment)
        for step in range(3):
            single, _ = one.step(single, one.place(own.at(step)))
        assert int(together_.step) == int(single.step) == 3
        for ours, expected in zip(jax.tree.leaves(together_), jax.tree.leaves(single), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
