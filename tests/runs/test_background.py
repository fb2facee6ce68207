"""Log of errors and warnings of background threads."""

import threading
import warnings

import pytest

from jaxdl.errors import WriteError
from jaxdl.runs.background import NAME, background_log


def fails():
    warnings.warn("in a thread", RuntimeWarning, stacklevel=1)
    raise ValueError("lost")


@pytest.mark.filterwarnings("always")
def test_errors_and_warnings_of_threads_are_logged_and_those_of_the_main_thread_shown(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(str(args.exc_value)))
    with background_log(tmp_path):
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
        warnings.warn("in the main thread", RuntimeWarning, stacklevel=1)
        warnings.warn("coroutine 'save' was never awaited", RuntimeWarning, stacklevel=1)
    log = (tmp_path / NAME).read_text()
    assert shown == ["in the main thread"]
    assert all(text in log for text in ("in a thread", "ValueError: lost", "never awaited"))


def test_a_log_that_cannot_be_opened_is_dropped(tmp_path, capfd):
    with background_log(tmp_path / "missing"):
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
    assert capfd.readouterr().err == ""


def test_a_thread_that_fails_after_the_save_is_logged(tmp_path, capfd):
    saved = threading.Event()

    def fails_later():
        saved.wait()
        raise ValueError("late")

    def save():
        with background_log(tmp_path):
            threading.Thread(target=fails_later).start()
            threading.Timer(0.1, saved.set).start()
            raise WriteError("disk full")

    with pytest.raises(WriteError, match="disk full"):
        save()
    assert "ValueError: late" in (tmp_path / NAME).read_text()
    assert capfd.readouterr().err == ""
