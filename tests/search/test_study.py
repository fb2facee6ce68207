"""Studies that several workers share: claims, and a damaged journal."""

import math
import multiprocessing
import os
import socket
import time

import pytest
from optuna.distributions import FloatDistribution

from jaxdl.errors import UserError
from jaxdl.search import claims
from jaxdl.search.pruners import make
from jaxdl.search.study import FILE, Study, Trial


def open_study(folder, count=1, worker=None, pruner=None):
    axes = {"rate": FloatDistribution(0.0, 0.9)}
    return Study(folder, "name", "max", axes, count, make(pruner, 1, 9), worker=worker)


def take(study: Study) -> Trial:
    trial = study.take()
    assert trial is not None
    return trial


def result(study: Study) -> float:
    assert study.best is not None
    return study.best[1]


def claim(folder, holder: str, age: float = 0.0) -> None:
    """Replaces the claim of the first trial by that of another worker."""
    [path] = (path for path in folder.glob(".search/claims-*/*") if path.name == "0")
    path.write_text(holder)
    past = time.time() - age
    os.utime(path, (past, past))


@pytest.mark.parametrize(
    ("holder", "age", "taken"),
    [
        ("process 1 on another-host", 0.0, False),
        ("process 1 on another-host", claims.STALE + 60, True),
        (f"process {os.getpid()} on {socket.gethostname()}", 0.0, False),
        (f"process 999999999 on {socket.gethostname()}", 0.0, True),  # has ended
        ("worker 2", 0.0, False),
        ("worker 1", 0.0, True),  # started again by its cluster
    ],
    ids=["another host", "another host, long ago", "this process", "an ended process", "another worker", "this worker"],
)
def test_a_trial_is_taken_over_from_a_worker_that_was_killed(tmp_path, holder, age, taken):
    trial = take(open_study(tmp_path))
    claim(tmp_path, holder, age)
    again = open_study(tmp_path, worker="worker 1").take()
    assert (again is not None) == taken
    if again is not None:
        assert (again.number, again.params) == (trial.number, trial.params)


def test_claims_that_are_given_up_are_taken_at_once(tmp_path):
    with open_study(tmp_path) as study:
        trial = take(study)
        study.report(trial.number, 3, 0.5)
        assert open_study(tmp_path).take() is None
        assert study.take() is None
    again = take(open_study(tmp_path))
    assert again.reported == {3}


def test_a_claim_that_was_taken_over_is_neither_renewed_nor_removed(tmp_path):
    study = open_study(tmp_path)
    trial = take(study)
    claim(tmp_path, "process 1 on another-host", claims.STALE / 2)
    [path] = (path for path in tmp_path.glob(".search/claims-*/*") if path.name == "0")
    before = path.stat().st_mtime
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "_PERIOD", -1.0)
        study.renew()
    study.tell(trial.number, 0.5)
    assert (path.read_text(), path.stat().st_mtime) == ("process 1 on another-host", before)


def _work(folder, count, queue):
    with open_study(folder, count) as study:
        while (trial := study.take()) is not None:
            queue.put(trial.number)
            time.sleep(0.01)
            study.tell(trial.number, trial.params["rate"])


def test_processes_that_ask_at_the_same_time_get_different_trials(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, 20, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    numbers = sorted(queue.get(timeout=60) for _ in range(20))
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    assert numbers == list(range(20))
    assert open_study(tmp_path, 20).finished


def test_a_trial_that_another_worker_has_finished_keeps_its_result(tmp_path):
    study = open_study(tmp_path)
    trial = take(study)
    claim(tmp_path, "process 1 on another-host", claims.STALE + 60)
    other = open_study(tmp_path)
    other.tell(take(other).number, 0.75)
    assert not study.report(trial.number, 3, 0.5)
    study.tell(trial.number, 0.25)
    assert result(study) == 0.75


def test_a_diverged_trial_is_pruned_and_a_pruned_one_has_no_result(tmp_path):
    study = open_study(tmp_path, 2, pruner="asha")
    trial = take(study)
    assert study.report(trial.number, 1, math.nan)
    assert open_study(tmp_path, worker="x").best is None
    study.tell(trial.number, None, pruned=True)
    assert study.best is None
    assert not study.finished
    study.tell(take(study).number, 0.5)
    assert study.finished


def test_an_incomplete_last_line_is_removed_and_other_damage_refused(tmp_path):
    study = open_study(tmp_path, 2)
    study.tell(take(study).number, 0.5)
    journal = tmp_path / FILE
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')  # of a process that was killed while it wrote
    study = open_study(tmp_path, 2)
    study.tell(take(study).number, 0.75)
    assert result(open_study(tmp_path, 2)) == 0.75
    for text in (b"not a journal\n" + whole, whole + b'{"a":1}\n', b"[]\n"):
        journal.write_bytes(text)
        with pytest.raises(UserError, match=r"cannot read .*search\.journal \(.*\); restore it"):
            open_study(tmp_path)


def test_a_search_of_an_earlier_version_is_refused(tmp_path):
    (tmp_path / "search.db").write_bytes(b"SQLite format 3")
    with pytest.raises(UserError, match=r"search\.db is a search of an earlier version; give another --workdir"):
        open_study(tmp_path)
