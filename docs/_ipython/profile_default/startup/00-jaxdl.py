"""Runs `!jaxdl ...` and `!python launch.py ...` of the notebooks in the kernel, which has imported JAX before."""

import shlex
import subprocess

from IPython import get_ipython

from jaxdl.runs.environment import configure_library


class ExitCode(Exception):
    """Exit code of a command that was refused; shown without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"exit code {self.args[0]}"]


def _system(command: str) -> None:
    """Runs a shell command; a jaxdl command runs in this process, as `jaxdl.commands.cli.main` does in a shell."""
    words = shlex.split(command)
    if words[:1] == ["jaxdl"]:
        from jaxdl.commands.cli import main

        code = main(words[1:])
        if code:
            raise ExitCode(code)
        return
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    print(done.stdout + done.stderr, end="")
    done.check_returncode()


configure_library()
get_ipython().system = _system
