"""Run folder: files that stay complete and readable after a kill, and a single writer."""

import errno
import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.errors import UserError
from jaxdl.runs.files import to_json, write_atomically, write_gif
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.lock import WAIT
from jaxdl.runs.manifest import start_manifest
from jaxdl.runs.places import find_runs

ROOT = Path(__file__).resolve().parents[2]
PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def parse_strictly(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


def events(folder: Path, monkeypatch) -> list:
    """Reads the events of all TensorBoard files in order and verifies their checksums."""
    monkeypatch.setitem(sys.modules, "torch", None)  # tensorboardX would import it, which takes seconds
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto import event_pb2

    parse: Any = event_pb2

    def masked(data: bytes) -> int:
        crc = crc32c(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    events = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            record, data, header = data[12 : 12 + length], data[16 + length :], data[: 16 + length]
            assert struct.unpack("<I", header[8:12])[0] == masked(header[:8])
            assert struct.unpack("<I", header[-4:])[0] == masked(record)
            events.append(parse.Event.FromString(record))
    return events


def displayed(log: list) -> list[tuple[int, str, float]]:
    """Returns the scalars that TensorBoard displays.

    A session that starts at a step hides earlier events from that step on.
    """
    scalars: list[tuple[int, str, float]] = []
    for event in log:
        if event.session_log.status == 1:
            scalars = [scalar for scalar in scalars if scalar[0] < event.step]
        scalars += [(event.step, v.tag, v.simple_value) for v in event.summary.value if not v.HasField("image")]
    return scalars


def test_metrics_are_read_back(tmp_path):
    with RunFolder(tmp_path / "a" / "run") as folder:
        folder.write(1, "train", {"loss": jnp.float32(0.1), "examples": 128})
        folder.write(1, "validation", {"loss": np.float64(0.5), "half": jnp.bfloat16(1.5), "wins": np.int64(3)})
        rows = folder.rows()
    assert rows == [
        {"step": 1, "split": "train", "loss": float(np.float32(0.1)), "examples": 128},
        {"step": 1, "split": "validation", "loss": 0.5, "half": 1.5, "wins": 3},
    ]
    lines = (tmp_path / "a" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [parse_strictly(line) for line in lines] == rows


def test_nonfinite_values_are_null_in_the_file_and_nan_in_rows(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write(1, "train", {"a": math.nan, "b": jnp.inf, "c": np.float32(-np.inf)})
        assert parse_strictly((tmp_path / "metrics.jsonl").read_text()) == {
            "step": 1,
            "split": "train",
            "a": None,
            "b": None,
            "c": None,
        }
        assert all(math.isnan(folder.rows()[0][name]) for name in "abc")
        folder.finish({"metrics": {"test": {"a": np.float32(np.nan), "confusion": np.eye(2), "b": jnp.float32(2)}}})
        assert parse_strictly((tmp_path / "result.json").read_text()) == folder.result()
        assert folder.result() == {"metrics": {"test": {"a": None, "confusion": [[1.0, 0.0], [0.0, 1.0]], "b": 2.0}}}


def test_a_step_and_split_is_written_once(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write(1, "train", {"loss": 1})
        folder.write(1, "test", {"loss": 1})
        with pytest.raises(ValueError, match="written before"):
            folder.write(1, "train", {"loss": 2})
    with RunFolder(tmp_path) as folder:
        with pytest.raises(ValueError, match="written before"):
            folder.write(1, "test", {"loss": 2})
        assert len(folder.rows()) == 2


@pytest.mark.parametrize("figures", [{"confusion": np.eye(2)}, {"step": 3}, {"split": 1}])
def test_invalid_metrics_are_refused_without_a_row(tmp_path, figures):
    with RunFolder(tmp_path) as folder:
        with pytest.raises(ValueError):
            folder.write(1, "train", {"loss": 1.0, **figures})
        assert folder.rows() == []
        folder.write(1, "train", {"loss": 1.0})


def test_rewind_removes_later_rows_pictures_and_results(tmp_path, monkeypatch):
    with RunFolder(tmp_path) as folder:
        for step in range(5):
            folder.write(step, "train", {"loss": step})
            folder.picture(step, "sample", PICTURE)
        folder.finish({"step": 4})
    monkeypatch.setattr("time.time", lambda: 1e9)  # a clock that was set back
    with RunFolder(tmp_path) as folder:
        folder.rewind(2)
        assert [row["step"] for row in folder.rows()] == [0, 1, 2]
        assert folder.result() is None
        assert sorted(path.name for path in folder.pictures.iterdir()) == [f"{i}_sample.png" for i in range(3)]
        for step in (3, 4):
            folder.write(step, "train", {"loss": 10 * step})
        with pytest.raises(ValueError, match="written before"):
            folder.write(2, "train", {"loss": 0})
    rows = RunFolder(tmp_path, mode="read").rows()
    assert [(row["step"], row["loss"]) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 30), (4, 40)]
    assert displayed(events(tmp_path, monkeypatch)) == [(row["step"], "train/loss", row["loss"]) for row in rows]


def test_a_restarted_run_rewinds_before_its_first_step(tmp_path, monkeypatch):
    with RunFolder(tmp_path) as folder:
        folder.write(0, "validation", {"loss": 1})
        folder.rewind(-1)
        assert folder.rows() == []
        folder.write(0, "validation", {"loss": 2})
    assert displayed(events(tmp_path, monkeypatch)) == [(0, "validation/loss", 2.0)]


def test_rewind_preserves_the_bytes_of_earlier_rows(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write(1, "train", {"loss": 0.1 + 0.2, "bad": math.nan, "ü": 1})
        before = (tmp_path / "metrics.jsonl").read_bytes()
        folder.write(2, "train", {"loss": 1})
        folder.rewind(1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("tail", "steps"),
    [(b'{"step": 2, "spl', [1]), (b'{"step": 2, "split": "train", "loss": 2}', [1, 2]), (b"\0\0\0", [1]), (b"2", [1])],
)
def test_a_torn_last_line_is_ignored(tmp_path, tail, steps):
    with RunFolder(tmp_path) as folder:
        folder.write(1, "train", {"loss": 1})
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(tail)
    assert [row["step"] for row in RunFolder(tmp_path, mode="read").rows()] == steps
    with RunFolder(tmp_path) as folder:
        folder.write(3, "train", {"loss": 3})
    assert [row["step"] for row in RunFolder(tmp_path, mode="read").rows()] == [*steps, 3]
    assert [parse_strictly(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        *steps,
        3,
    ]


def test_an_invalid_line_in_the_middle_is_reported(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\nrubbish\n{"step": 2, "split": "train"}\n')
    with pytest.raises(UserError, match="line 2 of") as error:
        RunFolder(tmp_path)
    one_line(error)


def test_pictures_are_files_and_tensorboard_images(tmp_path, monkeypatch):
    with RunFolder(tmp_path) as folder:
        folder.picture(7, "../validation/samples 1", PICTURE)
        folder.picture(7, "again", PICTURE)
        folder.picture(7, "again", 255 - PICTURE)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["7_.._validation_samples_1.png", "7_again.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures" / names[0])), PICTURE)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures" / names[1])), 255 - PICTURE)
    images = [(e.step, v.tag, v.image) for e in events(tmp_path, monkeypatch) for v in e.summary.value]
    step, tag, image = images[0]
    assert (step, tag, image.height, image.width) == (7, "../validation/samples 1", 4, 5)
    assert image.encoded_image_string == (tmp_path / "pictures" / names[0]).read_bytes()


def test_a_picture_that_is_drawn_again_after_a_kill_is_one_event(tmp_path, monkeypatch):
    for _ in range(2):
        with RunFolder(tmp_path) as folder:
            folder.rewind(7)
            folder.picture(7, "sample", PICTURE)
    assert [value.tag for event in events(tmp_path, monkeypatch) for value in event.summary.value] == ["sample"]


@pytest.mark.parametrize("image", [PICTURE.astype(np.float32), PICTURE[..., :1], PICTURE[0]])
def test_invalid_pictures_are_refused(tmp_path, image):
    with RunFolder(tmp_path) as folder, pytest.raises(ValueError, match="uint8"):
        folder.picture(1, "sample", image)


def test_tensorboard_has_the_values_of_the_file(tmp_path, monkeypatch):
    with RunFolder(tmp_path) as folder:
        folder.write(10**10, "train", {"loss": 0.5, "huge": 1e300, "bad": math.nan})
    with RunFolder(tmp_path) as folder:  # a second writer in the same second has a separate file
        folder.write(10**10 + 1, "train", {"loss": 0.25})
    log = events(tmp_path, monkeypatch)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert log[0].file_version == "brain.Event:2"
    assert abs(log[0].wall_time - time.time()) < 3600
    scalars = {(step, tag): value for step, tag, value in displayed(log)}
    assert scalars[10**10, "train/loss"] == 0.5
    assert scalars[10**10, "train/huge"] == math.inf
    assert math.isnan(scalars[10**10, "train/bad"])
    assert scalars[10**10 + 1, "train/loss"] == 0.25


def test_the_hparams_plugin_of_tensorboard_compares_the_last_metrics_of_runs_by_their_settings(tmp_path):
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    api: Any = api_pb2
    for seed in range(2):
        with RunFolder(tmp_path / f"run-{seed}") as folder:
            folder.write_config("{}", f"seed = {seed}\ntask = Classification(...)\n")
            start_manifest(folder, {})
            folder.rewind(-1)  # killed before the first checkpoint
            folder.rewind(-1)
            for step in (1, 2):
                folder.write(step, "validation", {"accuracy": seed + step / 4})
            if seed == 0:
                folder.finish({"step": 2})
    runs = plugin_event_multiplexer.EventMultiplexer()
    runs.AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = data_provider.MultiplexerDataProvider(runs, str(tmp_path))
    plugin = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    statuses = [api.STATUS_UNKNOWN, api.STATUS_SUCCESS]
    request = api.ListSessionGroupsRequest(slice_size=10, allowed_statuses=statuses, include_metrics=True)
    groups = list_session_groups.Handler(RequestContext(), plugin, "", request).run().session_groups
    shown = {}
    for group in groups:
        (metric,) = group.metric_values
        settings = {name: value.string_value or value.number_value for name, value in group.hparams.items()}
        shown[group.name] = settings, metric.name.tag, metric.value, group.sessions[0].status
    assert shown == {
        "run-0/tensorboard": ({"seed": 0, "task": "Classification(...)"}, "validation/accuracy", 0.5, statuses[1]),
        "run-1/tensorboard": ({"seed": 1, "task": "Classification(...)"}, "validation/accuracy", 1.5, statuses[0]),
    }


def test_an_invalid_folder_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot write") as error:
            RunFolder(path)
        one_line(error)
    with pytest.raises(UserError, match=r"holiday\.jpg") as error:
        RunFolder(tmp_path / "photos")
    one_line(error)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(UserError, match="use a writable folder") as error:
        RunFolder(tmp_path / "run")
    one_line(error)


def test_a_folder_with_a_log_or_a_run_is_accepted(tmp_path):
    (tmp_path / "train.log").write_text("what the shell redirected")
    with RunFolder(tmp_path) as folder:
        folder.write_config("{}", "text")
    (tmp_path / "notes.md").write_text("mine")
    with RunFolder(tmp_path) as folder:
        assert parse_strictly(folder.config()) == {}
    assert (tmp_path / "config.txt").read_text() == "text"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    ("name", "problem"), [("a\udcff", "is not valid UTF-8"), ("a[1]", "contains '\\['"), ("a*/b", r"contains '\*'")]
)
def test_paths_that_checkpoints_cannot_have_are_refused(tmp_path, name, problem):
    with pytest.raises(UserError, match=problem):
        RunFolder(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_links_in_a_cycle_end_the_search_for_runs(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self").symlink_to(tmp_path)
    RunFolder(tmp_path / "run").write_config("{}", "")
    assert find_runs(tmp_path, math.inf) == [tmp_path / "run"]
    assert find_runs(tmp_path / "loop") == []


def test_files_have_names_of_any_length_and_any_text(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, to_json({"file": "a\udcff"}))
    assert json.loads(path.read_text()) == {"file": "a\udcff"}


def test_a_full_disk_is_reported(tmp_path):
    with RunFolder(tmp_path) as folder:
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
        with pytest.raises(UserError, match="free some space") as error:
            folder.write(1, "train", {"loss": 1})
        one_line(error)


def test_opening_another_folder_suggests_nearby_runs(tmp_path):
    for name in ("resnet", "vae"):
        with RunFolder(tmp_path / name) as folder:
            folder.write_config("{}", "")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "resnett", tmp_path / "empty", tmp_path):
        with pytest.raises(UserError) as error:
            RunFolder.open(path)
        assert str(tmp_path / "resnet") in one_line(error)
    assert find_runs(tmp_path) == [tmp_path / "resnet", tmp_path / "vae"]
    assert RunFolder.open(tmp_path / "vae").rows() == []


def test_only_the_first_process_of_a_run_writes(tmp_path):
    silent = RunFolder(tmp_path / "run", mode="silent")
    silent.write(1, "train", {"loss": 1})
    silent.picture(1, "sample", PICTURE)
    silent.write_config("{}", "")
    silent.rewind(0)
    silent.finish({})
    assert not (tmp_path / "run").exists()


def test_reading_does_not_write(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write_config("{}", "")
        folder.write(1, "train", {"loss": 1})
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        reader = RunFolder.open(tmp_path)  # also while another process trains
        assert reader.rows()[0]["loss"] == 1
        with pytest.raises(RuntimeError):
            reader.write(2, "train", {"loss": 1})
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(RuntimeError):
        folder.finish({})  # closed


def test_a_failed_atomic_write_keeps_the_old_file_and_no_parts(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(UserError):
        write_atomically(tmp_path / "target", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    with pytest.raises(TypeError):
        to_json({"a": object()})


HOLDER = """
import os, sys, time
from jaxdl.runs.folder import RunFolder
folder = RunFolder(sys.argv[1])
folder.write(1, "train", {"loss": 1})
if sys.argv[2] == "fork" and os.fork() == 0:
    folder = None
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)
elif sys.argv[2] == "hold":
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["hold", "fork"])
def test_a_run_folder_has_one_writer_and_a_kill_releases_the_lock(tmp_path, kind):
    # Python 3.12 warns of fork() in a multi-threaded process; the child only sleeps.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HOLDER, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        # With "fork" the child sends its id. It outlives its parent, as data workers do.
        speaker = int(holder.stdout.readline())
        try:
            with pytest.raises(UserError, match=f"process {holder.pid} on ") as error:
                RunFolder(tmp_path)
            one_line(error)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with RunFolder(tmp_path) as folder:
                assert [row["step"] for row in folder.rows()] == [1]
        finally:
            holder.kill()
            if speaker != holder.pid:
                os.kill(speaker, signal.SIGKILL)


def test_a_deleted_lock_admits_no_second_writer_and_stops_the_first(tmp_path):
    with RunFolder(tmp_path) as folder:
        (tmp_path / ".lock").unlink()
        with pytest.raises(UserError, match="trains in"):
            RunFolder(tmp_path)
        with pytest.raises(UserError, match=r"\.lock was moved, deleted or replaced"):
            folder.write(1, "train", {"loss": 1})


def test_a_moved_folder_is_not_created_again(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(UserError, match="moved, deleted or replaced"):
            folder.write(1, "train", {"loss": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_without_locks_the_second_writer_stops_the_first(tmp_path, monkeypatch, caplog):
    def unsupported(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    first = RunFolder(tmp_path)
    assert "this file system has no locks" in caplog.text
    monkeypatch.setattr("os.getpid", lambda: 1)  # another process
    with RunFolder(tmp_path) as second:
        with pytest.raises(UserError, match="replaced"):
            first.write(1, "train", {"loss": 1})
        first.close()
        second.write(1, "train", {"loss": 1})


def test_a_run_of_a_sweep_waits_for_the_lock(tmp_path, monkeypatch):
    first = RunFolder(tmp_path)
    monkeypatch.setenv(WAIT, "1")
    monkeypatch.setattr("time.sleep", lambda seconds: first.close())
    with RunFolder(tmp_path) as second:
        second.write(1, "train", {"loss": 1})
        assert [row["step"] for row in second.rows()] == [1]


def test_the_lock_holds_within_a_process_until_close(tmp_path):
    with RunFolder(tmp_path) as folder:
        with pytest.raises(UserError, match=str(os.getpid())):
            RunFolder(tmp_path)
        folder.close()
        with RunFolder(tmp_path):
            pass


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_has_enlarged_frames(tmp_path, channels):
    frames = np.zeros((3, 4, 8, channels), np.uint8)
    frames[1], frames[2, :, :4] = 255, 128
    with Image.open(write_gif(tmp_path / "way.gif", frames, least=16)) as image:
        assert image.size == (16, 8)
        decoded = []
        for number in range(3):
            image.seek(number)
            decoded.append(np.asarray(image.convert("RGB"))[::2, ::2, :channels])
        with pytest.raises(EOFError):
            image.seek(3)
    np.testing.assert_array_equal(decoded, frames)
