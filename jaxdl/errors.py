"""The exceptions that `launch.py` tells of in one line."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake in a flag, path, config, data file, checkpoint or device count.

    The message is one line that says what is wrong and how to mend it. `launch.py` prints it and exits with code 2;
    no traceback is shown unless `--debug` is given.
    """


class Failed(Exception):
    """Something that was asked for failed though the command was right; `launch.py` says what and exits with code 1."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The hint that ends a "no such name" line: the nearest match, if there is one, and the names that exist."""
    names = sorted(names)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"did you mean '{match[0]}'? " if match else "") + f"names that exist: {', '.join(names) or '(none)'}"


@contextmanager
def from_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turns the ImportError of an optional package into a UserError that names the extra.

    Args:
      extra: Extra of pyproject.toml that contains the package.
      purpose: Subject of the message, such as "BLEU".
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise UserError(f"{purpose} needs {package}: {install(extra)}") from None


def install(extra: str) -> str:
    """Returns the command that installs an extra."""
    return f"pip install -e '.[{extra}]'"
