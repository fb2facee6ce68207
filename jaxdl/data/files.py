"""Files below a folder, by suffix."""

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from jaxdl.errors import UserError

_ARCHIVE_FOLDER = "__MACOSX"  # copies of file attributes in archives that macOS packed


class Listing(NamedTuple):
    """Files below a folder, each group sorted.

    Attributes:
      files: Files with the suffixes.
      skipped: Other files, and hidden files and folders.
      broken: Links with the suffixes to files that do not exist.
    """

    files: tuple[Path, ...]
    skipped: tuple[Path, ...]
    broken: tuple[Path, ...]


def list_files(root: Path, suffixes: Collection[str]) -> Listing:
    """Lists the files below a folder by suffix, which matches in any case.

    Links to folders are followed, and a folder that is reached twice is listed once. Hidden files and folders, such as
    ".ipynb_checkpoints" and "._1.png", are skipped.
    """
    files, skipped, broken = [], [], []
    visited: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        place, status = Path(folder), os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        skipped += [place / name for name in subfolders if is_hidden(name)]
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        for name in names:
            path = place / name
            if is_hidden(name) or path.suffix.lower() not in suffixes:
                skipped.append(path)
            else:
                (files if path.is_file() else broken).append(path)
    return Listing(*(tuple(sorted(group)) for group in (files, skipped, broken)))


def reasons(root: Path, paths: Iterable[Path], kind: str) -> list[str]:
    """Returns skipped files below a folder with the reason: hidden, or `kind`, such as "not an image"."""
    return [f"{path.relative_to(root)} ({'hidden' if is_hidden(path.name) else kind})" for path in paths]


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder is hidden, or metadata of an archive."""
    return name.startswith(".") or name == _ARCHIVE_FOLDER


def subfolders_of(folder: Path) -> list[Path]:
    """Returns the folders in a folder that are not hidden, sorted; links to folders are followed."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


_OPENED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # pipes of the shell, such as `<(command)`


def check_file(path: str | Path) -> None:
    """Refuses folders, devices, sockets and named pipes, which may block forever.

    Raises:
      UserError: The path does not exist, or is not a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); check the path") from None
    if not stat.S_ISREG(mode) and not str(path).startswith(_OPENED):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise UserError(f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}; pass the path of a file")


def check_links(broken: Iterable[Path]) -> None:
    """Raises UserError for the first broken link, or file that is not a regular one."""
    for path in broken:
        if not path.is_symlink():
            check_file(path)
        raise UserError(f"{path} is a link to {os.readlink(path)}, which does not exist; restore the file or remove it")
