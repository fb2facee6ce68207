"""Files of wheels, source distributions and npm packages."""

import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxdl.errors import UserError

_DAMAGES = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RuntimeError)


def read_archive(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yields path and content of the wanted regular files in a wheel, or below the top folder of a tar file.

    Paths are normalized. Links, devices and files whose paths lead outside of the archive are skipped.

    Raises:
      UserError: The archive is damaged or encrypted.
    """
    try:
        yield from _read_zip(archive, wanted) if archive.suffix in (".whl", ".zip") else _read_tar(archive, wanted)
    except _DAMAGES as error:
        raise UserError(f"{archive.name} is not a complete archive ({error}); run the command again") from error


def _read_zip(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if not info.is_dir() and (path := _inside(info.filename)) and wanted(path):
                yield path, file.read(info)


def _read_tar(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as file:
        for entry in file:
            path = _inside(entry.name).partition("/")[2]
            if entry.isreg() and path and wanted(path) and (reader := file.extractfile(entry)) is not None:
                yield path, reader.read()


def _inside(name: str) -> str:
    """Returns the normalized path of a member, "" if it is absolute or leads outside of the archive."""
    path = posixpath.normpath(name.replace("\\", "/"))
    return "" if path.startswith(("/", "..")) or path[1:2] == ":" else path
