"""Start of the command line."""

import signal

from jaxdl.signals import PRUNING, handle_signals, stop_at_once
from jaxdl.streams import open_streams


def launch() -> int:
    """Runs the command line of this process and returns the exit code.

    Signals are handled before the other imports, which take a second with JAX.
    """
    handle_signals(stop_at_once)
    signal.signal(PRUNING, signal.SIG_IGN)  # before and after training, a search may send it once more
    open_streams()
    from jaxdl.commands.cli import main

    return main()
