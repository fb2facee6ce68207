"""Every state of the store, wherever an upload ends, is a run from which training resumes."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxdl.errors import UserError, WriteError
from jaxdl.remote.names import MARKER
from jaxdl.remote.store import Store
from jaxdl.runs import owner, stored
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.owner import Owner
from jaxdl.runs.replica import Replica
from jaxdl.runs.stored import staging_of

STEPS = 2  # between checkpoints


class Interrupted(Exception):
    """End of the process during an upload."""


class Failing(Store):
    """Store whose process ends after a number of changes, and which records its content after each of them."""

    left = 10**9
    states: list[dict[str, bytes]]
    recording = False

    def _changed(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        if self.recording:
            with self._lock:
                self.states.append({name: self.read(name) or b"" for name in self.list()})

    def record(self) -> None:
        self.recording, self.states, self._lock = True, [], threading.Lock()

    def write(self, name, content):
        super().write(name, content)
        self._changed()

    def put(self, path, name):
        super().put(path, name)
        self._changed()

    def remove(self, names):
        for name in names:
            super().remove([name])
            self._changed()


@pytest.fixture
def url(request, monkeypatch, tmp_path) -> str:
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "home"))
    return f"memory://{abs(hash(request.node.nodeid))}/runs/a"


def begin(folder: RunFolder, attempt: int) -> None:
    folder.write_config(json.dumps({"attempt": attempt}), f"attempt = {attempt}\n")
    attempts = [{"first_step": None, "number": number} for number in range(attempt)]
    folder.write_manifest({"attempts": attempts})


def train(folder: RunFolder, start: int, end: int, content: str = "array") -> None:
    """Writes the files of steps as a session does: metrics and pictures, then a checkpoint, of which two are kept."""
    for step in range(start + 1, end + 1):
        folder.write(step, "train", {"loss": 1 / step})
        if step % STEPS == 0:
            folder.picture(step, "image", np.full((2, 2, 3), step, np.uint8))
            folder.seal_metrics()
            checkpoint = folder.checkpoints / str(step)
            (checkpoint / "params").mkdir(parents=True)
            for name in ("array", "other"):
                (checkpoint / "params" / name).write_text(f"{content} of {step}")
            (checkpoint / MARKER).write_text("{}")
            shutil.rmtree(folder.checkpoints / str(step - 2 * STEPS), ignore_errors=True)


def check_resumable(path: Path, oldest: int) -> None:
    """Checks that a folder is that of a run which a kill could have left."""
    with RunFolder(path) as folder:
        steps = sorted(int(child.name) for child in folder.checkpoints.iterdir())
        assert steps, "a checkpoint is complete"
        assert steps[-1] >= oldest
        folder.check()
        for step in steps:
            params = folder.checkpoints / str(step) / "params"
            assert (params / "array").read_text() == (params / "other").read_text(), "a checkpoint is of one save"
        rows = [row["step"] for row in folder.rows()]
        assert rows[: steps[-1]] == list(range(1, steps[-1] + 1)), "metrics precede their checkpoint"
        assert (folder.pictures / f"{steps[-1]}_image.png").exists()
        if (result := folder.result()) is not None:
            assert result["step"] == steps[-1]
        folder.rewind(steps[-1])
        folder.check()


@pytest.mark.parametrize("scene", ["trained", "finished", "extended", "replaced"])
def test_an_upload_may_end_at_any_operation(scene, url, tmp_path):
    store, path = Failing(url), tmp_path / "staging"
    replica = Replica(store, path, "writer")
    with RunFolder(path) as folder:
        begin(folder, 1)
        train(folder, 0, 4)
        replica.update()
        begin(folder, 2)
        train(folder, 4, 9)
        if scene in ("finished", "extended"):
            folder.finish({"step": 8})
        if scene == "extended":
            replica.update()
            begin(folder, 3)
            folder.rewind(8)
            train(folder, 8, 11)
        if scene == "replaced":  # as a damaged checkpoint is
            replica.update()
            shutil.rmtree(folder.checkpoints / "8")
            folder.rewind(6)
            train(folder, 6, 8, "other array")
        store.record()
        replica.update()
        assert not replica.changed()
    assert len(store.states) > 10
    for number, state in enumerate(store.states):
        copy = Store(f"{url}-{number}")
        for name, content in state.items():
            copy.write(name, content)
        Replica(copy, tmp_path / str(number), "other").fetch("")
        check_resumable(tmp_path / str(number), oldest={"extended": 8, "replaced": 6}.get(scene, 4))


def test_an_interrupted_upload_is_continued_from_the_staging_folder(url):
    store, path = Failing(url), staging_of(url)
    replica = Replica(store, path, "first")
    replica.fetch("")
    with RunFolder(path) as folder:
        begin(folder, 1)
        train(folder, 0, 4)
        replica.update()
        train(folder, 4, 8)
        store.left = 5
        with pytest.raises(Interrupted):
            replica.update()
    again = Replica(Store(url), path, "second")
    again.fetch("first")
    assert (path / "checkpoints" / "8").exists(), "the folder is ahead and is kept"
    again.update()
    assert not again.changed()
    assert "checkpoints/8/params/array" in Store(url).list()


def test_a_staging_folder_that_another_machine_has_overtaken_is_replaced(url):
    path = staging_of(url)
    replica = Replica(Store(url), path, "first")
    replica.fetch("")
    with RunFolder(path) as folder:
        begin(folder, 1)
        train(folder, 0, 8)
        replica.update()
        train(folder, 8, 10)
    again = Replica(Store(url), path, "third")
    again.fetch("second")
    assert not (path / "checkpoints" / "10").exists()
    assert (path / "checkpoints" / "8" / "params" / "array").read_text() == "array of 8"


def test_a_deleted_run_starts_again(url):
    path = staging_of(url)
    replica = Replica(Store(url), path, "first")
    replica.fetch("")
    with RunFolder(path) as folder:
        begin(folder, 1)
        train(folder, 0, 4)
        replica.update()
    Store(url).remove(Store(url).list())
    Replica(Store(url), path, "second").fetch("")
    assert not list(path.glob("*.json"))


def test_objects_that_were_added_by_hand_stay(url):
    path = staging_of(url)
    replica = Replica(Store(url), path, "first")
    replica.fetch("")
    with RunFolder(path) as folder:
        begin(folder, 1)
        train(folder, 0, 4)
        replica.update()
        Store(url).write("notes/mine.txt", b"notes")
        train(folder, 4, 8)
        replica.update()
        replica.update()
    assert "notes/mine.txt" in Store(url).list()
    assert "checkpoints/2/params/array" not in Store(url).list()


def claims(url, monkeypatch, tmp_path, renewal: float) -> tuple[Owner, Owner]:
    monkeypatch.setattr(owner, "RENEWAL", renewal)
    monkeypatch.setattr(owner, "EXPIRY", 0.4)
    return Owner(Store(url), tmp_path / "one"), Owner(Store(url), tmp_path / "two")


def test_a_second_writer_is_refused_while_the_first_is_alive(url, monkeypatch, tmp_path):
    first, second = claims(url, monkeypatch, tmp_path, renewal=0.05)
    assert first.acquire() == ""
    with pytest.raises(UserError, match=f"process .* trains in {url}; wait for it"):
        second.acquire()
    first.release()
    assert second.acquire() == first.writer
    second.release()


def test_a_killed_writer_is_replaced_after_a_while_and_stops_if_it_is_alive(url, monkeypatch, tmp_path, capsys):
    first, second = claims(url, monkeypatch, tmp_path, renewal=60)
    first.acquire()
    assert second.acquire() == first.writer
    assert "waiting 0 s for a sign of it" in capsys.readouterr().err
    assert not first.check()
    assert first.taken.startswith("process ")
    assert second.check()


def test_a_killed_writer_of_the_same_folder_is_replaced_at_once(url, monkeypatch, tmp_path, capsys):
    first, _ = claims(url, monkeypatch, tmp_path, renewal=60)
    first.acquire()
    Owner(Store(url), tmp_path / "one").acquire()
    assert capsys.readouterr().err == ""


def test_a_process_that_was_replaced_uploads_nothing_and_names_the_other(url, monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "POLL", 0.01)

    def run() -> None:
        with stored.stored(url) as path, RunFolder(path) as folder:
            begin(folder, 1)
            train(folder, 0, 2)
            Owner(Store(url), path).acquire()
            train(folder, 2, 4)

    with pytest.raises(UserError, match="has taken over"):
        run()
    assert "checkpoints/4/params/array" not in Store(url).list()


def test_a_failed_last_upload_is_an_error_and_is_repeated_by_the_next_start(url, monkeypatch, capsys):
    monkeypatch.setattr(stored, "LAST_PAUSES", (0.0,))
    monkeypatch.setattr(stored, "POLL", 60.0)
    put = Store.put

    def refuse(store, path, name):
        raise UserError("cannot write: the network is down")

    monkeypatch.setattr(Store, "put", refuse)
    message = "the network is down; the end of the run is not stored"

    def run() -> None:
        with stored.stored(url) as path, RunFolder(path) as folder:
            begin(folder, 1)
            train(folder, 0, 4)

    with pytest.raises(WriteError, match=message):
        run()
    monkeypatch.setattr(Store, "put", put)
    with stored.stored(url) as path:
        assert (path / "checkpoints" / "4").exists()
    assert "checkpoints/4/params/array" in Store(url).list()


def test_failures_in_between_are_reported_once(url, monkeypatch, capsys):
    monkeypatch.setattr(stored, "POLL", 0.01)
    monkeypatch.setattr(stored, "INTERVAL", 0.01)
    put, failures = Store.put, []

    def fail(store, path, name):
        if len(failures) < 5:
            failures.append(name)
            raise UserError("cannot write: the network is down")
        put(store, path, name)

    monkeypatch.setattr(Store, "put", fail)
    with stored.stored(url) as path, RunFolder(path) as folder:
        begin(folder, 1)
        train(folder, 0, 4)
    assert len(failures) == 5
    assert capsys.readouterr().err.count("network is down") <= 1
    assert "checkpoints/4/params/array" in Store(url).list()


def test_a_folder_of_other_files_is_refused_before_it_is_downloaded(url):
    Store(url).write("cat/1.png", b"image")

    def run() -> None:
        with stored.stored(url):
            pass

    with pytest.raises(UserError, match=r"is not a run and contains other files \(cat\)"):
        run()
    assert set(Store(url).list()) == {"cat/1.png"}
    assert not staging_of(url).exists()


def test_several_processes_are_refused(url, monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(UserError, match=r"several processes write one run.*mount the bucket"), stored.stored(url):
        pass
