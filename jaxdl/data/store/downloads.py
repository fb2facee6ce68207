"""Downloads: files at URLs, source distributions from package indexes, and programs that download packages."""

from __future__ import annotations

import base64
import fnmatch
import html
import http.client
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError, write_errors

_BLOCK = 2**20
_PYPI = "https://pypi.org/simple"
_ALTERNATIVE = "or provide the files in a folder and set JAXDL_SOURCES to it"


def run(command: list[str], wanted: str, folder: Path | None = None) -> None:
    """Runs a program that downloads a package.

    Args:
      command: Command line.
      wanted: Name of the package, for the error message.
      folder: Working folder.

    Raises:
      UserError: The program is missing or failed, with its reason.
    """
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"cannot get {wanted}: {command[0]} is not installed; install it, {_ALTERNATIVE}") from None
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.strip() and "complete log" not in line]
        reason = lines[-1].strip() if lines else f"exit code {process.returncode}"
        broken = re.findall(r"connection broken by '(.*)':", process.stderr)  # pip ends with "No matching distribution"
        reason += f" ({broken[-1]})" if broken else ""
        raise UserError(f"cannot get {wanted}: '{' '.join(command)}': {reason}; check the network, {_ALTERNATIVE}")


def download_sdist(name: str, version: str, folder: Path) -> None:
    """Downloads a source distribution as a file from the package indexes of pip's configuration.

    `pip download` would run its setup code to read the metadata.

    Raises:
      UserError: No index has it, or the download failed.
    """
    plain = re.sub("[-_.]+", "-", name).lower()
    pattern = f"{plain}-{version}.tar.gz"
    pages = [f"{index.rstrip('/')}/{plain}/" for index in _indexes()]
    reasons = []
    for page in pages:
        try:
            with urllib.request.urlopen(_request(page, {}), timeout=60) as response:
                links = re.findall(r"""href=["']([^"'#]+)""", response.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{_shown(page)}: {_reason(error)}")
            continue
        for link in map(html.unescape, links):
            file = urllib.parse.unquote(urllib.parse.urlsplit(link).path.rsplit("/", 1)[-1])
            if fnmatch.fnmatchcase(re.sub("[-_]+", "-", file).lower(), pattern):
                download(urllib.parse.urljoin(page, link), folder / file)
                return
        reasons.append(f"{_shown(page)} does not list it")
    raise UserError(
        f"cannot get the source of {name}=={version}: {'; '.join(reasons)}; check the network, {_ALTERNATIVE}"
    )


def _indexes() -> list[str]:
    """Returns the package indexes that pip is configured for, else PyPI."""
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    urls = {kind: values.split() for kind, values in re.findall(r"^\S*\.((?:extra-)?index-url)='(.*)'$", text, re.M)}
    return [*urls.get("index-url", [_PYPI]), *urls.get("extra-index-url", [])]


def download(url: str, path: Path) -> None:
    """Downloads the remainder of a file and appends it to `path`.

    Raises:
      UserError: The download failed; the partial file is kept.
      WriteError: The disk is full.
    """
    offset = path.stat().st_size if path.exists() else 0
    request = _request(url, {"Range": f"bytes={offset}-"} if offset else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            if getattr(response, "status", None) != 206:  # the server ignored the range and sends the whole file
                offset = 0
            length = response.headers.get("Content-Length")
            total = offset + int(length) if length else None
            _save(response, path, offset, total, url.rsplit("/", 1)[-1])
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # the file is complete
            return
        raise UserError(f"cannot download {_shown(url)}: {error}; check the address") from error
    except (OSError, http.client.HTTPException) as error:
        reason = _reason(error)
        raise UserError(
            f"cannot download {_shown(url)} ({reason}); check the network and run it again to resume"
        ) from error
    if total is not None and (arrived := path.stat().st_size) < total:
        raise UserError(f"the download of {_shown(url)} stopped at {arrived} of {total} bytes; run it again to resume")


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    """Returns the request of a URL, in which a user and password become a header."""
    parts = urllib.parse.urlsplit(url)
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers = {**headers, "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return urllib.request.Request(_shown(url), headers=headers)


def _shown(url: str) -> str:
    """Returns a URL without user and password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _reason(error: Exception) -> str:
    """Returns the cause of a failed request: that of a URLError is the system's."""
    return " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__


def _save(response: Any, path: Path, offset: int, total: int | None, name: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    if not offset:
        path.unlink(missing_ok=True)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, completed=offset, total=total)
        while block := response.read(_BLOCK):
            with write_errors(path), path.open("ab") as file:
                file.write(block)
            bar.advance(task, len(block))
