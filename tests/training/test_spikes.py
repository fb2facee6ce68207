"""Loss spikes: skipped updates, their counts, and the laws of runs that skip some."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fakes import Duel, Regression, duel_experiment, regression_experiment

import jaxdl
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import UserError
from jaxdl.runs.folder import RunFolder
from jaxdl.testing import tiny
from jaxdl.testing.laws import (
    Bench,
    law_accumulation,
    law_devices,
    law_pmap,
    law_repeatable,
    law_resumable,
)
from jaxdl.training.spikes import Spikes, SpikeSkipping, skip_spikes

pytestmark = pytest.mark.filterwarnings("ignore:JAX was in use before jaxdl")
SPIKE = 4  # step whose batch is multiplied by 1e4; both phases of `Duel` have two earlier updates
RULE = Spikes(window=4, deviations=6.0)


def spiky(batch, step):
    return {**batch, "x": batch["x"] * jnp.where(step == SPIKE, 1e4, 1.0)}


class SpikyDuel(Duel):
    def _outcome(self, sign, params, variables, batch, key, step, carry):
        return super()._outcome(sign, params, variables, spiky(batch, step), key, step, carry)


class SpikyRegression(Regression):
    def loss(self, params, variables, batch, key, step, carry):
        return super().loss(params, variables, spiky(batch, step), key, step, carry)


@pytest.fixture(scope="module")
def bench():
    return Bench(duel_experiment(task=SpikyDuel(), skip_spikes=RULE))


def test_runs_that_skip_updates_obey_the_laws(bench, tmp_path):
    law_repeatable(bench, steps=7)
    law_resumable(bench, tmp_path, kills=(4, 6), steps=7)
    law_devices(bench, steps=7)
    law_pmap(bench, steps=7)
    law_accumulation(bench, steps=7)


def check_skipped(bench):
    """Checks that the spike changes nothing but the window, and that training goes on after it."""
    program = bench.program()
    before, _ = bench.steps(program, SPIKE)
    before = jax.device_get(before)
    spike, _ = bench.steps(program, 1, bench.steps(program, SPIKE)[0])
    spike = jax.device_get(spike)
    after, _ = bench.steps(program, SPIKE + 2)
    for name in ("params", "variables", "carry"):
        assert jax.tree.all(jax.tree.map(np.array_equal, getattr(before, name), getattr(spike, name))), name
    for phase, state in spike.opt_state.items():
        inner = jax.tree.map(np.array_equal, before.opt_state[phase].inner, state.inner)
        assert jax.tree.all(inner)
        assert (state.skipped, state.count) == (1, before.opt_state[phase].count + 1)
    assert not np.array_equal(after.params["maker"]["shift"], spike.params["maker"]["shift"])
    assert all(state.skipped == 1 for state in after.opt_state.values())


def test_a_spike_changes_neither_parameters_nor_optimizer_nor_carry(bench):
    check_skipped(bench)


def test_an_update_without_the_guard_is_detected(monkeypatch):
    monkeypatch.setattr(SpikeSkipping, "was_skipped", staticmethod(lambda before, after: jnp.bool_(False)))
    with pytest.raises(AssertionError, match="params"):
        check_skipped(Bench(duel_experiment(task=SpikyDuel(), skip_spikes=RULE)))


def test_skipped_updates_are_counted_in_metrics_and_results(tmp_path, capsys):
    experiment = regression_experiment(task=SpikyRegression(), skip_spikes=RULE, steps=9, log_every=3)
    jaxdl.train(experiment, tmp_path / "guarded")
    assert "spikes      1 updates skipped" in capsys.readouterr().out
    assert json.loads((tmp_path / "guarded" / "result.json").read_text())["spikes_skipped"] == 1
    rows = RunFolder.open(tmp_path / "guarded").rows()
    assert [row.get("spikes_skipped") for row in rows] == [None, 1, None]
    assert all(row["loss"] < 200 for row in rows)  # the spike is in no mean
    jaxdl.train(dataclasses.replace(experiment, skip_spikes=Spikes()), tmp_path / "plain", progress=False)
    assert "spikes_skipped" not in json.loads((tmp_path / "plain" / "result.json").read_text())
    assert RunFolder.open(tmp_path / "plain").rows()[-1]["loss"] > 1e6


def skipped(losses, window=128, deviations=6.0):
    """Returns the steps at which updates with these losses are skipped."""
    optimizer, params = skip_spikes(optax.sgd(0.1), Spikes(window, deviations)), {"x": jnp.ones(1)}
    state: Any = optimizer.init(params)
    update: Any = jax.jit(optimizer.update)
    steps = []
    for step, loss in enumerate(losses):
        count = int(state.skipped)
        _, state = update(params, state, params, value=jnp.float32(loss))
        steps += [step] * (int(state.skipped) - count)
    return steps


def test_spikes_do_not_hide_each_other_and_a_lasting_change_is_accepted():
    noise = np.random.default_rng(0).normal(2.0, 0.1, 400)
    assert skipped(noise) == []
    spikes = noise + np.isin(np.arange(400), [10, 100, 101, 102, 110, 300]) * 1e4
    assert skipped(spikes[20:]) == [80, 81, 82, 90, 280]
    assert 10 not in skipped(spikes)  # the first half of a window is accepted
    raised = skipped(noise + 2.0 * (np.arange(400) >= 200))
    assert raised == list(range(200, 200 + len(raised)))
    assert 1 <= len(raised) <= 12


def test_the_limit_is_the_mean_and_the_sample_deviation_of_the_window():
    values = np.array([1.0, 2.0, 4.0, 3.0])
    limit = values.mean() + 2.0 * values.std(ddof=1)
    accepted = [9.0, 8.0, *values]  # replaced in the window
    assert skipped([*accepted, limit - 1e-4], 4, 2.0) == []
    assert skipped([*accepted, limit + 1e-4], 4, 2.0) == [6]


def test_the_rule_is_off_by_default():
    optimizers = {"train": optax.sgd(0.1)}
    assert regression_experiment().skip_spikes.guard(optimizers) is optimizers


def test_settings_out_of_range_are_refused():
    from jaxdl.config.experiment import validate

    with pytest.raises(UserError, match=r"skip_spikes\.window.*at least 2"):
        validate(regression_experiment(skip_spikes=Spikes(window=1)))
    with pytest.raises(UserError, match=r"skip_spikes\.deviations.*above 0"):
        validate(regression_experiment(skip_spikes=Spikes(deviations=-1.0)))


def test_members_of_an_ensemble_skip_their_own_updates():
    config = build(tiny(load_recipe("experiments/autoencoder/shuttle_anomaly.py")))
    bench = Bench(dataclasses.replace(config, ensemble=2, nonfinite="skip", skip_spikes=Spikes(2, 1e-3)))
    state, _ = bench.steps(bench.program(), 8)
    skipped = np.asarray(state.opt_state["train"].skipped)
    assert skipped.shape == (2,)
    assert skipped.any()
