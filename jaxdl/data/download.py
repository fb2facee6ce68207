"""Downloads that show how far they are and go on where they broke off."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError

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
