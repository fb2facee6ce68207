"""Start of the command line."""

from jaxdl.signals import handle_signals, stop_at_once
from jaxdl.streams import open_streams


def launch() -> int:
    """Runs the command line of this process and returns the exit code.

    Signals are handled before the other imports, which take a second with JAX.
    """
    handle_signals(stop_at_once)
    open_streams()
    from jaxdl.commands.cli import main

    return main()
