"""Intervals over test examples: pairing, coverage, stored examples."""

import numpy as np
import pytest
from run_examples import group, save

from jaxdl.errors import UserError
from jaxdl.report import over_examples
from jaxdl.report.over_examples import difference_over_examples, paired_interval, resample
from jaxdl.runs.examples import Examples, read


def examples(values, weights=None, fingerprint="a"):
    values = np.asarray(values, float)
    return Examples(fingerprint, np.arange(len(values)), values, np.ones(len(values)) if weights is None else weights)


def paired_bootstrap(first, second):
    return paired_interval([resample(run) for run in first], [resample(run) for run in second], len(first[0].index))


def test_the_interval_covers_the_difference_of_the_distribution(monkeypatch):
    monkeypatch.setattr(over_examples, "_RESAMPLES", 400)
    random, hits = np.random.default_rng(0), 0
    for _ in range(300):
        difficulty = random.normal(size=150)  # of the examples, which all runs share
        first = [examples(difficulty + 0.3 + random.normal(0, 0.5, 150)) for _ in range(2)]
        second = [examples(difficulty + random.normal(0, 0.5, 150)) for _ in range(3)]
        hits += paired_bootstrap(first, second).contains(0.3)
    assert 0.91 < hits / 300 < 0.98


def test_pairing_removes_the_difficulty_of_the_examples():
    random = np.random.default_rng(0)
    difficulty = random.normal(size=500)
    first, second = examples(difficulty + 0.1), examples(difficulty)
    low, high, _ = paired_bootstrap([first], [second])
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_the_metric_is_a_ratio_of_sums():
    weights = np.array([1.0, 3.0, 0.0, 2.0])
    ones = examples(weights, weights)
    assert ones.value == 1.0
    low, high, method = paired_bootstrap([ones], [examples(0 * weights, weights)])
    assert (low, high, method) == (1.0, 1.0, "paired bootstrap over 4 examples")


def test_only_runs_with_the_same_stored_examples_have_an_interval(tmp_path, capsys):
    random = np.random.default_rng(0)
    correct = [random.integers(2, size=50).astype(float) for _ in range(3)]
    for number, values in enumerate(correct):
        save(tmp_path / str(number), values)
    first = group(tmp_path / "0", tmp_path / "1", results=[correct[0].mean(), correct[1].mean()])
    second = group(tmp_path / "2", results=[correct[2].mean()])
    interval = difference_over_examples(first, second, "test/accuracy")
    assert interval is not None
    assert interval.contains(np.mean([correct[0].mean(), correct[1].mean()]) - correct[2].mean())
    assert difference_over_examples(first, second, "test/loss") is None
    (tmp_path / "3").mkdir()
    assert difference_over_examples(first, group(tmp_path / "3", results=[0.5]), "test/accuracy") is None
    save(tmp_path / "4", correct[2], fingerprint="of other data")
    assert difference_over_examples(first, group(tmp_path / "4", results=[correct[2].mean()]), "test/accuracy") is None
    assert capsys.readouterr().err == ""
    stale = group(tmp_path / "2", results=[correct[2].mean() + 0.1])
    assert difference_over_examples(first, stale, "test/accuracy") is None
    assert "they are not used; write them again with: jaxdl eval" in capsys.readouterr().err


def test_damaged_examples_are_refused(tmp_path):
    path = save(tmp_path, np.ones(50))
    content = path.read_bytes()
    place = content.index(b"accuracy.npy") + 40  # in its compressed values
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    for damaged in (content[: len(content) // 2], b"", b"PK\x03\x04" + bytes(100), flipped):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"examples\.npz .*write it again with: jaxdl eval .* --examples"):
            read(tmp_path, "test/accuracy")
