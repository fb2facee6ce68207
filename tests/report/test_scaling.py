"""Scaling law: known coefficients, coverage of intervals, held-out runs, refusals, files."""

import csv
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from jaxdl.commands.report import as_csv, as_json, as_markdown
from jaxdl.commands.report import run as report
from jaxdl.config.text import Setting
from jaxdl.errors import UserError
from jaxdl.report import scaling as scaling_module
from jaxdl.report.load import FINISHED, Run
from jaxdl.report.scaling import lines, section_of_page
from jaxdl.report.scaling_law import DELTA, Law, Points, bootstrap, fit, interval, problem
from jaxdl.report.statistics import Group, Section

TRUE = Law(e=0.9, a=60.0, b=400.0, alpha=0.45, beta=0.40)
SIZES, BUDGETS = (27e3, 60e3, 104e3, 230e3, 405e3), (0.77e6, 1.54e6, 3.1e6)


def points(noise=0.0, seed=0, sizes=SIZES, budgets=BUDGETS):
    n, d = np.array(list(itertools.product(sizes, budgets))).T
    return Points(n, d, TRUE(n, d) * np.exp(noise * np.random.default_rng(seed).normal(size=n.size)))


def huber(law, points):
    error = np.abs(np.log(law(points.parameters, points.tokens) / points.loss)) / DELTA
    return np.where(error <= 1, error**2 / 2, error - 0.5).sum()


def test_exact_losses_return_their_coefficients():
    found = fit(points())
    np.testing.assert_allclose(found, TRUE, rtol=1e-5)
    assert found.parameter_share == pytest.approx(0.40 / 0.85, rel=1e-5)


def test_the_fit_is_the_minimum_of_the_huber_loss():
    noisy = points(noise=0.01, seed=1)
    found = fit(noisy)
    start = np.log([found.e, found.a, found.b, found.alpha, found.beta])
    options = {"maxiter": 2000, "maxfev": 2000, "xatol": 1e-9, "fatol": 1e-9}
    peer = minimize(lambda x: huber(Law(*np.exp(x)), noisy), start, method="Nelder-Mead", options=options)
    assert huber(found, noisy) == pytest.approx(peer.fun, rel=1e-3)
    assert huber(found, noisy) < 0.9 * huber(TRUE, noisy)


def test_an_outlier_moves_the_exponents_little():
    spoilt = points()
    spoilt.loss[7] *= 1.2
    found = fit(spoilt)
    np.testing.assert_allclose([found.alpha, found.beta], [TRUE.alpha, TRUE.beta], rtol=0.02)


def test_intervals_cover_the_coefficients_and_a_larger_run():
    covered = np.zeros(3)
    statistics = (lambda law: law.alpha, lambda law: law.beta, lambda law: float(law(1e6, 6e6)))
    simulations = 8
    for seed in range(simulations):
        noisy = points(noise=0.003, seed=seed)
        laws = bootstrap(noisy, fit(noisy), replicates=40)
        ends = [interval(laws, statistic) for statistic in statistics]
        covered += [low <= statistic(TRUE) <= high for (low, high), statistic in zip(ends, statistics)]
        assert ends[0][1] - ends[0][0] < 0.5
    assert (covered >= 0.7 * simulations).all()


@pytest.mark.parametrize(
    ("sizes", "budgets", "message"),
    [
        (SIZES[:1], BUDGETS, "3 finished run.* for five coefficients; train 6 or more"),
        (SIZES[:2], BUDGETS, "2 number.* of parameters do not determine an exponent; train 3 or more sizes"),
        (SIZES, BUDGETS[:2], "2 number.* of tokens do not determine an exponent; train for 3 or more"),
    ],
)
def test_runs_that_do_not_determine_the_law_are_named(sizes, budgets, message):
    assert not problem(points())
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problem(points(sizes=sizes, budgets=budgets)))


# --- runs of a recipe


def scaling(part, held_out=()):
    return scaling_module.scaling(part, held_out, replicates=10)


def section(sizes=SIZES, budgets=BUDGETS, noise=0.002, mode="min", unit="tokens", **changes):
    data = points(noise, 0, sizes, budgets)
    settings = (Setting("keep.metric", "'test/loss'", False), Setting("keep.mode", f"'{mode}'", False))
    groups = []
    for number, (n, d, loss) in enumerate(zip(*data), 1):
        seen = {"examples": int(d) // 128, **({"tokens": int(d)} if unit == "tokens" else {})}
        run = Run(
            Path(f"run{number}"),
            FINISHED,
            recipe="a.py",
            seed=0,
            settings=settings,
            metrics={"test/loss": float(loss)},
            parameters=int(n),
            tflop=6e-12 * n * d,
            **{**seen, **changes},
        )
        groups.append(Group(number, (run,), {"width": f"{n:.0f}", "steps": f"{d:.0f}"}, alone=False))
    return Section("a.py", "", "test/loss", tuple(groups))


def test_the_largest_run_is_predicted_from_the_others():
    found = scaling(section())
    assert len(found.fitted) == 14
    [prediction] = found.predictions
    assert (prediction.parameters, prediction.seen) == (405e3, 3.1e6)
    assert prediction.predicted == pytest.approx(float(TRUE(405e3, 3.1e6)), rel=0.01)
    assert prediction.error == pytest.approx(prediction.predicted / prediction.measured - 1)
    assert prediction.low < prediction.predicted < prediction.high


def test_held_out_runs_do_not_influence_the_fit():
    part, changed = section(), section()
    changed.groups[-1].runs[0].metrics["test/loss"] = 9.0  # type: ignore[index]
    assert scaling(part).law == scaling(changed).law
    assert scaling(changed, ["1"]).law != scaling(part, ["1"]).law


def test_groups_are_held_out_by_number_or_arguments():
    found = scaling(section(), ["3", "width=27000, steps=770000"])
    assert [row.group.number for row in found.predictions] == [1, 3]
    assert len(found.fitted) == 13
    with pytest.raises(UserError, match=r"--hold_out=99 does not name a group of a.py"):
        scaling(section(), ["99"])


def test_runs_without_tokens_are_fitted_by_examples():
    found = scaling(section(unit="examples"))
    assert found.unit == "examples"
    assert found.law.beta == pytest.approx(scaling(section()).law.beta, rel=1e-3)


def test_a_selected_checkpoint_counts_the_tokens_until_it():
    found = scaling(section(steps=100, selected=50))
    assert found.predictions[0].seen == 3.1e6 / 2


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (section(sizes=SIZES[:2]), "6 or more|3 or more sizes"),
        (section(mode="max"), "test/loss is not a loss but better if higher; use --metric=EVAL/NAME"),
        (section(examples=None), "run1 does not have its number of examples"),
        (section(sizes=(*SIZES, SIZES[0])), r"groups 1 and 16 .* have the same parameters and steps"),
        (Section("a.py", "", None, ()), "no run is finished"),
    ],
)
def test_runs_that_cannot_be_fitted_are_refused(part, message):
    with pytest.raises(UserError, match=message):
        scaling(part)


def test_every_file_has_the_fit():
    part = section()
    found = scaling(part)
    fits = {"a.py": found}
    values = json.loads(as_json([part], fits=fits))["recipes"][0]["scaling"]
    assert values["unit"] == "tokens"
    assert len(values["fitted"]) == 14
    assert values["coefficients"]["alpha"]["value"] == found.law.alpha
    error = f"{found.predictions[0].error:+.1%}"
    rows = list(csv.DictReader(io.StringIO(as_csv([part], part.runs, fits))))
    assert [row["held_out"] for row in rows] == [*["False"] * 14, "True"]
    assert float(rows[-1]["fitted_loss"]) == found.predictions[0].predicted
    for text in (as_markdown([part], fits=fits), lines(found), section_of_page(found)):
        assert "arXiv:2203.15556" in text
        assert error in text
    assert section_of_page(found).count("<svg") == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"fit": "scalign"}, "--fit=scalign is unknown; did you mean 'scaling'"),
        ({"held_out": ["3"]}, "--hold_out=3 names a group that a fit predicts; add --fit=scaling"),
    ],
)
def test_flags_of_the_fit_are_checked(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        report([str(tmp_path)], str(tmp_path / "report.html"), **flags)
