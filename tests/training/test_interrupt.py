"""Signals before and during training."""

import os
import signal
import time

import pytest

from jaxdl.errors import Preempted, Pruned
from jaxdl.signals import PRUNING
from jaxdl.training.interrupt import interruptible, preparing

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _no_signal_ends_the_tests():
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_training_stops_after_the_step(number):
    with interruptible() as interrupt:
        assert not interrupt.stops(1)
        os.kill(os.getpid(), number)
        assert interrupt.stops(2)
        assert interrupt.received == number.name


def test_the_signal_of_a_search_ends_training_as_pruned():
    with interruptible(PRUNING) as interrupt:
        os.kill(os.getpid(), PRUNING)
        assert interrupt.stops(2)
        stop = interrupt.exception(2)
    assert (type(stop), stop.exit_code) == (Pruned, 76)
    assert str(stop) == "SIGUSR1 after step 2; saved; run the same command to resume"
    with interruptible(PRUNING) as interrupt:
        os.kill(os.getpid(), PRUNING)
        os.kill(os.getpid(), signal.SIGTERM)  # the search itself is stopped, and decides again later
        assert (type(interrupt.exception(3)), interrupt.exception(3).exit_code) == (Preempted, 75)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_first_step_ends_the_preparation(number):
    with pytest.raises(Preempted, match=rf"{number.name} before the first step; nothing to save yet"), preparing():
        os.kill(os.getpid(), number)


def test_a_signal_during_a_callback_whose_exceptions_python_ignores_ends_the_preparation(capfd):
    class Deleted:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.001)

    def prepare():
        with preparing():
            Deleted()
            time.sleep(10)

    with pytest.raises(Preempted, match="SIGTERM before the first step"):
        prepare()
    assert capfd.readouterr().err == ""


def test_a_signal_that_causes_another_exception_ends_the_preparation():
    def prepare():
        with preparing():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                raise KeyError

    with pytest.raises(Preempted, match="SIGTERM before the first step"):
        prepare()


@pytest.mark.parametrize("context", [interruptible, preparing])
def test_an_ignored_hangup_stays_ignored(context):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with context():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_second_interrupt_from_the_keyboard_is_immediate():
    with interruptible():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
