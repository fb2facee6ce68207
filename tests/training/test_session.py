"""Resumed runs: batch size, reached number of steps, optimizers that average parameters."""

import dataclasses

import jax
import numpy as np
import optax
import optax.contrib
import pytest
from fakes import duel_experiment, regression_experiment

import jaxdl
from jaxdl.data.pipeline import Batches
from jaxdl.errors import UserError
from jaxdl.training.checkpoint import CheckpointPolicy

pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")


def with_data(experiment, **changes):
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **changes))


def scored(experiment):
    """The regression with its examples as validation and test split."""
    return with_data(experiment, evals={"validation": experiment.data.train}, test=experiment.data.train)


@pytest.fixture
def positions(monkeypatch):
    """Positions of the training examples that were read, without those read for their shapes."""
    read: list[int] = []
    make = Batches.make

    def recorded(self, positions):
        read.extend(positions.tolist() if len(positions) > 1 else [])
        return make(self, positions)

    monkeypatch.setattr(Batches, "make", recorded)
    return read


def train(experiment, folder, **options):
    return jaxdl.train(experiment, folder, progress=False, allow=("config", "batch_size"), **options)


def test_another_batch_size_continues_at_the_next_example(tmp_path, positions):
    train(with_data(regression_experiment(steps=3), batch_size=8), tmp_path)
    for batch_size, steps, expected in ((16, 5, range(24, 56)), (8, 7, range(56, 72))):
        positions.clear()
        run = train(with_data(regression_experiment(steps=steps), batch_size=batch_size), tmp_path)
        assert sorted(set(positions))[: len(expected)] == list(expected)  # later ones are prefetched
    assert run.trained.record["examples_seen"] == 72


def test_another_batch_size_is_refused_where_rows_carry_a_state(tmp_path):
    train(duel_experiment(steps=2), tmp_path)
    with pytest.raises(UserError, match=r"data\.batch_size was 16 and is 8, but the rows of this run carry a state"):
        train(with_data(duel_experiment(steps=4), batch_size=8), tmp_path)


def test_a_run_shortened_to_its_current_step_is_evaluated_there(tmp_path):
    long = dataclasses.replace(scored(regression_experiment(steps=6)), eval_every=4, save_every=2)
    train(long, tmp_path)
    for part in ("result.json", "checkpoints/6"):
        (tmp_path / part).rename(tmp_path / part.replace("/", "_").replace(".json", ".old"))
    run = train(dataclasses.replace(long, steps=4), tmp_path)
    assert set(run.metrics) == {"validation", "test"}
    assert run.metrics["validation"] == run.metrics["test"]
    assert run.metrics == jaxdl.load(tmp_path, experiment=dataclasses.replace(long, steps=4)).metrics
    assert (tmp_path / "result.json").exists()


def schedule_free(rate=0.05, **changes):
    optimizer = optax.contrib.schedule_free(optax.sgd(rate), rate, b1=0.9)
    return scored(regression_experiment(optimizers={"train": optimizer}, **changes))


def test_schedule_free_parameters_are_evaluated_saved_and_loaded(tmp_path):
    policy = CheckpointPolicy(metric="validation/loss", mode="min")
    run = train(schedule_free(steps=8, keep=policy), tmp_path / "first")
    state = run.trained.state
    expected = optax.contrib.schedule_free_eval_params(state.opt_state["train"], state.params["line"])
    kernel = np.asarray(run.params["line"]["kernel"])
    np.testing.assert_allclose(kernel, expected["kernel"], rtol=1e-6)
    assert not np.allclose(kernel, state.params["line"]["kernel"])

    dataset = schedule_free().data.train.columns
    mask = np.arange(12)[None] < dataset["length"][:, None]
    loss = (mask * np.square(dataset["x"] @ kernel - dataset["y"])).sum() / mask.sum()
    assert run.metrics["validation"]["loss"] == pytest.approx(loss, rel=1e-5)

    start = jaxdl.InitFromRun(str(tmp_path / "first"), ("line",))
    other = train(schedule_free(rate=1e-6, steps=1, start=start), tmp_path / "second")
    np.testing.assert_allclose(other.params["line"]["kernel"], kernel, atol=1e-3)


def test_an_average_of_schedule_free_parameters_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"optimizers\.train averages the parameters itself .*; set ema=None"):
        train(schedule_free(steps=1, ema=0.9), tmp_path)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.polyak_sgd(max_learning_rate=0.1),
        optax.chain(optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=1, cooldown=0, factor=0.5)),
    ],
    ids=["polyak_sgd", "reduce_on_plateau"],
)
def test_optimizers_receive_the_loss(optimizer, tmp_path):
    run = train(regression_experiment(optimizers={"train": optimizer}, steps=8), tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.trained.state.params))
