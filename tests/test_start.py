"""Signals and standard streams of the command line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl.config.recipes import repository_root
from jaxdl.signals import STOPPING, handle_signals, interrupt
from jaxdl.streams import lasting


@pytest.fixture
def default_handlers():
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_before_the_first_import_is_one_line_and_code_75(number):
    code = f"""
import os, signal
signal.signal({number:d}, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [{number:d}])
os.kill(os.getpid(), {number:d})
from jaxdl.start import launch
launch()
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=repository_root(), capture_output=True, text=True)
    assert process.stderr == f"stopped: {number.name}; run the same command again\n"
    assert process.returncode == 75


@pytest.mark.usefixtures("default_handlers")
@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_interrupts_a_command_and_a_second_one_ends_it_at_once(number):
    handle_signals(interrupt)
    with pytest.raises(KeyboardInterrupt, match=number.name):
        os.kill(os.getpid(), number)
    assert {signal.getsignal(other) for other in STOPPING} == {signal.SIG_DFL}


@pytest.mark.usefixtures("default_handlers")
def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handle_signals(interrupt)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_lasting_stream_outlives_its_reader(capfd):
    reader, writer = os.pipe()
    stream = lasting(os.fdopen(writer, "w"), "the output is lost")
    print("read", file=stream)
    assert os.read(reader, 100) == b"read\n"
    os.close(reader)
    for _ in range(2):
        print("unread", file=stream)
    assert capfd.readouterr().err == "warning: the output is lost: Broken pipe\n"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_files_do_not_take_the_descriptors_of_closed_streams(tmp_path):
    code = """
import os, sys
from jaxdl.streams import open_streams
sys.stdin = sys.stdout = sys.stderr = None
for number in range(3):
    os.close(number)
open_streams()
print("unread", flush=True)
with open(sys.argv[1], "w") as file:
    file.write(" ".join(os.readlink(f"/proc/self/fd/{number}") for number in range(3)))
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "links"], cwd=repository_root(), check=True)
    assert (tmp_path / "links").read_text() == " ".join([os.devnull] * 3)
