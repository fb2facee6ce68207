"""Exceptions that the command line reports in one line."""

import difflib
import errno
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_LISTED = 5  # names in a hint
_FILES = "raise the limit of open files (ulimit -n) and run again"
# Remedies of full disks and limits by error number.
LIMITS: dict[int | None, str] = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) and run again",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENAMETOOLONG: "use a shorter path",
}
_OTHERWISE = "use a writable folder"
# Remedies of a file where a folder is expected.
_NO_FOLDER: dict[int | None, str] = dict.fromkeys(
    (errno.EEXIST, errno.ENOTDIR), "give the path of a folder; a file has this name, or that of a folder above it"
)
# Characters that move the cursor, break a line, reverse the direction of text or cannot be encoded.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns a text as one line for a terminal: control characters become escapes such as "\\n" and "\\x1b"."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class UserError(Exception):
    """Usage error: an invalid flag, path, config, data file, checkpoint or device count.

    The message is one line with the problem and its fix. The command line prints it without a traceback, unless
    `--debug` is given, and the exit code is 2.
    """


class WriteError(UserError):
    """A file could not be written: full disk, quota, permission, size limit. Background threads may have failed too."""


class Failed(Exception):
    """Failure of a valid command, reported in one line; the exit code is 1."""


class NonFinite(Exception):
    """NaN or infinite loss or gradient, with the step, the phase and the leaves; the exit code is 1."""


class Preempted(BaseException):
    """Stop by a signal after the state was saved; the exit code is 75.

    Like KeyboardInterrupt it is not an Exception, so that code which handles errors does not catch it.
    """

    exit_code = 75


class Pruned(Preempted):
    """Stop of a trial that its search has pruned, after the state was saved; the exit code is 76."""

    exit_code = 76


def warn(message: str) -> None:
    """Prints a warning of one line on standard error."""
    print(f"warning: {printable(message)}", file=sys.stderr)


def is_utf8(text: str) -> bool:
    """Returns whether a text, such as a file name, has no undecodable bytes, which Python keeps as surrogates."""
    return text == text.encode(errors="ignore").decode()


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns a hint for an unknown name: the closest match, if any, and at most five names that exist, the closest."""
    names = sorted(names)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = names
    if len(names) > _LISTED:
        listed = sorted(names, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())[:_LISTED]
    more = f" and {len(names) - len(listed)} more" if len(listed) < len(names) else ""
    meant = f"did you mean '{match[0]}'? " if match else ""
    if any("," in other for other in listed):
        listed = [f"'{other}'" for other in listed]
    return f"{meant}names that exist: {', '.join(listed) or '(none)'}{more}"


def error_number(error: Exception) -> int | None:
    """Returns the number of a failed system call, also of one that a library describes in its message, else None.

    safetensors writes "os error 28", TensorStore "os_error_code='28'", array_record "No space left on device".
    """
    if isinstance(error, OSError):
        return error.errno
    if match := re.search(r"(?:os error |os_error_code=')(\d+)", str(error)):
        return int(match[1])
    return next((number for number in LIMITS if number and os.strerror(number) in str(error)), None)


@contextmanager
def limit_errors(path: Path) -> Iterator[None]:
    """Turns the exception of a full disk or a limit into a WriteError; other exceptions pass."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if error_number(error) not in LIMITS:
            raise
        raise WriteError(f"cannot write {path}: {cause_and_remedy(error)}") from error


def cause_and_remedy(error: Exception, otherwise: str = _OTHERWISE) -> str:
    """Returns "CAUSE; REMEDY" of a failed system call (`error_number`), with the remedy `otherwise` of other causes."""
    number = error_number(error)
    cause = os.strerror(number) if number else " ".join(str(error).split())[:300] or type(error).__name__
    return f"{cause}; {LIMITS.get(number) or _NO_FOLDER.get(number, otherwise)}"


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turns an OSError into a WriteError that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {cause_and_remedy(error)}") from error


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


def check_packages(packages: Mapping[str, str], purpose: str) -> None:
    """Raises UserError if an optional package is not installed.

    Args:
      packages: {package: extra of pyproject.toml that contains it}.
      purpose: Subject of the message, such as "The evaluation".
    """
    for package, extra in packages.items():
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{purpose} needs {package}: {install(extra)}")


def install(extra: str) -> str:
    """Returns the command that installs an extra."""
    return f"pip install -e '.[{extra}]'"
