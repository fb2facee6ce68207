"""Learning rates, norms by module, tokens, and the time of a run by activity in its files."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fakes import duel_experiment, regression_experiment

import jaxdl
from jaxdl.runs.folder import RunFolder
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.testing.laws import Killed
from jaxdl.training.compiled import Program
from jaxdl.training.diagnostics import Diagnostics, modules_of
from jaxdl.training.optimizers import adam, adamw, muon, sgd
from jaxdl.training.progress import Progress
from jaxdl.training.state import TrainState
from jaxdl.training.task import Phase, Task

pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")


def rows_of(folder, split="train"):
    return [row for row in RunFolder.open(folder).rows() if row["split"] == split]


def factories():
    """Optimizers of jaxdl by name, with a schedule, and one without."""
    options = {"learning_rate": 0.1, "steps": 6, "warmup": 2, "clip_norm": 1.0}
    return {
        "adamw": adamw(**options),
        "frozen adam": adam(**options, frozen=("bias",)),
        "sgd": sgd(**options, scales={"kernel": 0.5}),
        "muon": muon(**options, adam_learning_rate=0.1),
        "constant": adam(0.1, steps=6, schedule="constant"),
    }


class OnePhase(Task):
    phases = (Phase("train", "group", lambda *_: None),)  # pyright: ignore


def diagnostics(params, opt_state, optimizer, ensemble=None):
    return Diagnostics(
        OnePhase(),
        {"train": optimizer},
        TrainState(jnp.int32(0), jnp.int32(0), params, {}, {}, {"train": opt_state}, {}),
        ensemble,
    )


@pytest.mark.parametrize("name", factories())
def test_the_learning_rate_is_the_one_of_the_last_update(name):
    params = {"group": {"kernel": np.ones((4, 4), np.float32), "bias": np.ones(4, np.float32)}}
    optimizer = factories()[name]
    state = optimizer.init(params["group"])
    reader = diagnostics(params, state, optimizer)
    assert reader.names[0] == "learning_rate"
    expected = np.where(np.arange(6) < 2, np.arange(6) / 2, (1 + np.cos(np.pi * (np.arange(6) - 2) / 4)) / 2)
    for step in range(6):
        _, state = optimizer.update(jax.tree.map(np.ones_like, params["group"]), state, params["group"])
        rate = float(reader(params, {"train": state})[0])
        assert rate == pytest.approx(0.1 if name == "constant" else 0.1 * expected[step], abs=1e-7)


def test_an_injected_learning_rate_is_reported_and_an_unknown_one_is_not(tmp_path):
    schedule = optax.linear_schedule(0.1, 0.0, 4)
    for name, optimizer in {
        "injected": optax.inject_hyperparams(optax.sgd)(learning_rate=schedule),
        "unknown": optax.sgd(schedule),
    }.items():
        experiment = regression_experiment(steps=4, log_every=1, optimizers={"train": optimizer})
        jaxdl.train(experiment, tmp_path / name, progress=False)
    rates = [row["learning_rate"] for row in rows_of(tmp_path / "injected")]
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert not any("learning_rate" in row for row in rows_of(tmp_path / "unknown"))


def test_norms_of_modules_are_those_of_their_leaves(tmp_path):
    """Two phases, of which one runs every second step: its gradient norm is the mean over its steps."""
    run = jaxdl.train(duel_experiment(steps=3, log_every=3, optimizers=_duel_optimizers()), tmp_path, progress=False)
    (row,) = rows_of(tmp_path)
    params = run.trained.state.params
    for group, leaf in (("maker", "shift"), ("critic", "scale")):
        assert row[f"param_norm/{group}/{leaf}"] == pytest.approx(float(np.linalg.norm(params[group][leaf])), rel=1e-6)
        assert row[f"{group}/grad_norm/{leaf}"] == pytest.approx(row[f"{group}/grad_norm"], rel=1e-6)
    assert row["maker/learning_rate"] == pytest.approx(0.1)
    assert "critic/learning_rate" not in row


def _duel_optimizers():
    return {"critic": optax.sgd(1e-2), "maker": adam(0.1, steps=3, schedule="constant")}


def test_modules_are_the_deepest_that_fit_in_a_row():
    def tree(blocks):
        block = {"attention": {"key": {"kernel": 1}}, "mlp": {"kernel": 1, "bias": 1}}
        return {"stack": {f"block_{number}": block for number in range(blocks)}, "bias": 1}

    few, many, lots = (modules_of(tree(blocks)) for blocks in (2, 12, 40))
    assert few.names[:3] == ["bias", "stack/block_0/attention/key", "stack/block_0/mlp"]
    assert few.numbers.tolist() == [0, 1, 2, 2, 3, 4, 4]
    assert len(many.names) == 13
    assert many.names[1] == "stack/block_0"
    assert lots.names == ["bias", "stack"]
    assert modules_of({}).names == []


def test_an_ensemble_reports_root_mean_squares():
    params = {"group": {"kernel": np.stack([np.full(4, 1.0, np.float32), np.full(4, 7.0, np.float32)])}}
    optimizer = adam(0.1, steps=4, schedule="linear")
    state = jax.vmap(optimizer.init)(params["group"])
    reader = diagnostics(params, state, optimizer, ensemble=2)
    values = reader.values(reader(params, {"train": state}))
    assert values["param_norm/kernel"] == pytest.approx(10.0)
    assert reader.gradient_norms("train", np.array([200.0])) == pytest.approx({"grad_norm/kernel": 10.0})


def test_tokens_are_counted_from_shapes():
    shape = {"tokens": np.zeros((4, 9), np.int32), "target": np.zeros((4, 9), np.float32), "label": np.zeros(4, int)}
    assert Task().token_count(shape) == 36
    assert Task().token_count({"source": np.zeros((4, 3), int), "target": np.zeros((4, 5), int)}) == 32
    assert Task().token_count({"source": np.zeros((4, 8, 8, 3), np.uint8)}) == 0
    predicted = LanguageModelling.token_count(None, {"tokens": np.zeros((4, 9), np.int32)})  # type: ignore[arg-type]
    assert predicted == 32


def test_the_time_of_a_killed_run_is_divided_into_activities(tmp_path, monkeypatch):
    experiment = regression_experiment(steps=6, save_every=2, log_every=1)
    advance = Progress.advance

    def killed(self, step):
        if step == 5:
            time.sleep(0.3)
            raise Killed
        advance(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", killed)
        with pytest.raises(Killed):
            jaxdl.train(experiment, tmp_path, progress=False)
    jaxdl.train(experiment, tmp_path, progress=False)
    result = json.loads((tmp_path / "result.json").read_text())
    seconds, badput = result["seconds"], result["badput"]
    assert set(badput) == {"start_up", "compile", "data", "evaluation", "save", "lost", "other"}
    assert all(value >= 0 for value in badput.values())
    assert result["goodput"] * seconds + sum(badput.values()) == pytest.approx(seconds, abs=0.02)
    assert badput["lost"] > 0.3
    assert [row["step"] for row in rows_of(tmp_path) if "compile_time" in row] == [1, 5]
    assert badput["compile"] == pytest.approx(sum(row.get("compile_time", 0) for row in rows_of(tmp_path)), rel=0.01)


def test_the_first_window_excludes_start_up_and_compilation(tmp_path, monkeypatch):
    compiled = Program.compiled.func

    def slow(self):
        time.sleep(0.5)
        return compiled(self)

    monkeypatch.setattr(Program.compiled, "func", slow)
    jaxdl.train(regression_experiment(steps=4, log_every=2), tmp_path, progress=False)
    first, second = rows_of(tmp_path)
    assert first["step_time"] < 0.2
    assert first["compile_time"] > 0.5
    assert "compile_time" not in second


def test_devices_and_parameters_are_printed_before_the_compilation(tmp_path, capsys):
    jaxdl.train(regression_experiment(steps=2, log_every=1), tmp_path)
    output = capsys.readouterr().out
    assert "4 parameters on 8 x CPU; compiling the train step\ncompiled in " in output
    assert output.index("compiled in") < output.index("step 1/2")
    assert "(start-up " in output.partition("goodput ")[2]
