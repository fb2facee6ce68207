"""Train step: phases, frozen groups, exact accumulation, carry, EMA, nonfinite values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fakes import Duel, Regression, duel_experiment, regression_experiment

from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import NonFinite
from jaxdl.testing.laws import (
    Bench,
    law_accumulation,
    law_devices,
    law_evaluation,
    law_pmap,
    law_repeatable,
    law_resumable,
)
from jaxdl.training.reports import Window, check_finite
from jaxdl.training.step import merge, split
from jaxdl.training.task import Term


@pytest.fixture(scope="module")
def bench():
    return Bench(duel_experiment())


def test_two_phases_obey_the_laws(bench, tmp_path):
    law_repeatable(bench)
    law_resumable(bench, tmp_path)
    law_devices(bench)
    law_pmap(bench)
    law_accumulation(bench)
    law_evaluation(bench)


def run(bench, count):
    """Returns the states after 0, 1, ..., count steps on the host, and the reports."""
    program = bench.program()
    state, states, reports = bench.start(program), [], []
    for step in range(count):
        states.append(jax.device_get(state))
        state, report = program.step(state, program.place(_batch(bench, program, step)))
        reports.append(jax.device_get(report))
    return [*states, jax.device_get(state)], reports


def _batch(bench, program, step):
    from jaxdl.data.pipeline import Batches

    return Batches(bench.sources.train, program.experiment.data, 0, rows=program.rows).at(step)


def test_a_phase_with_every_runs_on_its_steps_only(bench):
    states, reports = run(bench, 4)
    assert [bool(report.ran["critic"]) for report in reports] == [True, False, True, False]
    assert all(report.ran["maker"] for report in reports)
    scales = [state.params["critic"]["scale"] for state in states]
    assert not np.array_equal(scales[0], scales[1])
    assert np.array_equal(scales[1], scales[2])
    assert not np.array_equal(scales[2], scales[3])
    shifts = [state.params["maker"]["shift"] for state in states]
    assert all(not np.array_equal(before, after) for before, after in itertools.pairwise(shifts))


def test_each_phase_has_its_own_optimizer(bench):
    states, _ = run(bench, 4)
    assert set(states[-1].opt_state) == {"critic", "maker"}
    assert int(optax.tree_utils.tree_get(states[-1].opt_state["maker"], "count")) == 4


def test_groups_outside_a_phase_are_frozen():
    class CriticOnly(Duel):
        @property
        def phases(self):
            return super().phases[:1]

    bench = Bench(duel_experiment(task=CriticOnly(), optimizers={"critic": optax.sgd(1e-2)}))
    states, _ = run(bench, 3)
    assert np.array_equal(states[0].params["maker"]["shift"], states[-1].params["maker"]["shift"])


def test_reports_are_means_over_the_steps_of_a_phase(bench):
    _, reports = run(bench, 3)
    window = Window()
    for report in reports:
        window.add(report)
    figures = window.take()
    expected = np.mean([reports[step].figures["critic"]["loss"] for step in (0, 2)])
    assert figures["critic/loss"] == pytest.approx(expected, rel=1e-6)
    assert window.take() == {}


def test_carry_is_per_example(bench):
    states, _ = run(bench, 2)
    assert states[2].carry.shape == (16, 2)
    assert np.all(states[2].carry == 3.0)  # the critic ran once, the generator twice
    for name in ("pmap", "accumulate"):  # created in the laws, or here
        changes = {"parallel": Parallel(mode="pmap")} if name == "pmap" else {"accumulate": 4}
        program = bench.program(name, 8 if name == "pmap" else 1, **changes)
        state, _ = bench.steps(program, 2)
        assert np.array_equal(jax.device_get(state.carry), states[2].carry)


def test_scored_records_are_gathered_exactly_once(bench):
    from jaxdl.data.pipeline import eval_batches

    program = bench.program()
    state = bench.start(program)
    source = bench.sources.evals["validation"]
    evaluations = [program.evaluate(state, eval_batches(source, size)) for size in (4, 13, 16)]
    assert all(metrics["scored"] == 13 for metrics in evaluations)
    assert len({metrics["median"] for metrics in evaluations}) == 1


def test_accumulation_is_exact_on_variable_lengths():
    law_accumulation(Bench(regression_experiment()))


def test_a_mean_of_means_is_not_exact():
    """The error that exact accumulation avoids: with lengths 1 to 12 the two losses differ."""
    bench = Bench(regression_experiment())
    loss = bench.steps(bench.program(), 1)[1][0, 0]
    batch = _batch(bench, bench.program(), 0)
    kernel = bench.start(bench.program()).params["line"]["kernel"]
    means = []
    for part in range(4):
        mask = np.arange(12)[None] < batch["length"][part::4, None]
        error = np.square(batch["x"][part::4] @ np.asarray(kernel) - batch["y"][part::4])
        means.append((mask * error).sum() / mask.sum())
    assert abs(np.mean(means) - loss) > 0.01 * loss


def test_accumulation_computes_matrix_products_once():
    """The pass that sums the weights is free: XLA eliminates the network from it."""
    programs = [Bench(regression_experiment()).program("x", accumulate=n) for n in (1, 4)]
    counts = [(program.compiled.as_text() or "").count(" dot(") for program in programs]
    assert counts[1] <= counts[0] + 1


def test_split_and_merge_are_inverse():
    array = jnp.arange(24).reshape(12, 2)
    assert split(array, 4).shape == (4, 3, 2)
    assert np.array_equal(merge(split(array, 4)), array)


def test_ema_follows_its_formula(bench):
    states, _ = run(bench, 3)
    average = states[0].params["maker"]["shift"].astype(np.float64)
    for count, state in enumerate(states[1:], 1):
        rate = min(0.9, (1 + count) / (10 + count))
        average = rate * average + (1 - rate) * state.params["maker"]["shift"]
    np.testing.assert_allclose(states[-1].ema["params"]["maker"]["shift"], average, rtol=1e-5)


def explosive(nonfinite: str) -> Bench:
    """Returns a regression whose loss is infinite at step 2."""

    class Explosive(Regression):
        def loss(self, params, variables, batch, key, step, carry):
            outcome = super().loss(params, variables, batch, key, step, carry)
            term = outcome.terms["square"]
            return outcome._replace(terms={"square": Term(term.sum * jnp.where(step == 2, jnp.inf, 1.0), term.weight)})

    return Bench(regression_experiment(task=Explosive(), nonfinite=nonfinite, steps=6))


def test_a_nonfinite_value_is_reported_with_step_phase_and_leaves():
    bench = explosive("stop")
    _, reports = run(bench, 3)
    check_finite(bench.experiment.task, bench.program().abstract.params, 2, reports[1])
    with pytest.raises(NonFinite, match=r"step 3, phase train: loss inf.*line/kernel"):
        check_finite(bench.experiment.task, bench.program().abstract.params, 3, reports[2])


def test_a_nonfinite_update_is_skipped_if_configured():
    states, reports = run(explosive("skip"), 4)
    kernels = [state.params["line"]["kernel"] for state in states]
    assert np.array_equal(kernels[2], kernels[3])
    assert not np.array_equal(kernels[3], kernels[4])
    window = Window()
    for report in reports:
        window.add(report)
    figures = window.take()
    assert figures["skipped"] == 1
    assert np.isfinite(figures["loss"])


def test_clipping_is_an_optax_transformation():
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    states, reports = run(Bench(regression_experiment(optimizers={"train": clipped})), 1)
    change = np.linalg.norm(states[1].params["line"]["kernel"] - states[0].params["line"]["kernel"])
    assert change == pytest.approx(1e-3, rel=1e-3)
    assert reports[0].figures["train"]["grad_norm"] > 1.0  # the report is the norm before clipping
