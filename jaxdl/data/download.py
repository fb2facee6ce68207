"""Downloads that show how far they are and go on where they broke off."""

import urllib.error
import urllib.request
from pathlib import Path

from jaxdl.errors import UserError

_BLOCK = 2**20


def download(url: str, path: Path) -> None:
    """Appends to `path` what it lacks of the file at `url`.

    Raises:
      UserError: the file cannot be had; what has arrived stays in `path`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with urllib.request.urlopen(request, timeout=60) as response, Progress(*columns, console=Console(stderr=True)) as bar:
            resumed = response.status == 206  # a server that cannot resume sends the whole file
            have = have if resumed else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            task = bar.add_task(url.rsplit("/", 1)[-1], completed=have, total=total)
            with path.open("ab" if resumed else "wb") as file:
                while block := response.read(_BLOCK):
                    file.write(block)
                    bar.advance(task, len(block))
        if total is not None and path.stat().st_size < total:
            raise UserError(f"the download of {url} broke off at {path.stat().st_size} of {total} bytes; run it again to go on")
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch
            return
        raise UserError(f"cannot download {url}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot download {url} ({error}); check the network and run it again to go on") from error
