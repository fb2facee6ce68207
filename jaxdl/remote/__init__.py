"""Object stores: data and runs at URLs such as s3://bucket/flowers, through fsspec.

Objects are mirrored to local files below `data_home()/objects`, which are read like any local folder. A run is trained
in a local folder, whose changes are uploaded (`jaxdl.runs.stored`).
"""

import os
from pathlib import Path

from jaxdl.errors import UserError
from jaxdl.home import as_url, data_home, expanded, is_url

_MIRRORS = "objects"


def local(path: str | os.PathLike) -> Path:
    """Returns a local path: of a URL, that of an up-to-date mirror of the object, or of all objects below it.

    Raises:
      UserError: Nothing exists at the URL, or it cannot be read.
    """
    if not is_url(path):
        return expanded(path)
    from jaxdl.remote.mirror import mirror

    return mirror(as_url(path), mirror_of(path))


def local_run(run: str | os.PathLike) -> Path:
    """Returns a local path as `local`, for a run; its checkpoints that are not completely uploaded are left out."""
    if not is_url(run):
        return expanded(run)
    from jaxdl.remote.mirror import mirror
    from jaxdl.remote.names import complete

    return mirror(as_url(run), mirror_of(run), complete)


def local_runs(folder: str | os.PathLike) -> Path:
    """Returns a local path as `local`, for a folder of runs; their checkpoints and event files are left out."""
    if not is_url(folder):
        return expanded(folder)
    from jaxdl.remote.mirror import mirror
    from jaxdl.remote.names import reported

    return mirror(as_url(folder), mirror_of(folder), reported, partial=True)


def exists(path: str | os.PathLike) -> bool:
    """Returns whether a path exists, for a URL whether there is an object at or below it."""
    if not is_url(path):
        return expanded(path).exists()
    from jaxdl.remote.store import Store

    return bool(Store(as_url(path)).list())


def mirror_of(url: str | os.PathLike) -> Path:
    """Returns the local path of the mirror of a URL.

    Raises:
      UserError: The URL has no bucket, or a part of it is empty, "." or "..".
    """
    scheme, _, rest = as_url(url).partition("://")
    parts = rest.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise UserError(f"{url} is not a URL of an object store; write s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
    return data_home().absolute().joinpath(_MIRRORS, scheme, *parts)


def url_of(path: str | os.PathLike) -> str | None:
    """Returns the URL of which a path is the mirror, or a part of it. None for other paths."""
    root = data_home().absolute() / _MIRRORS
    place = Path(path).absolute()
    if not place.is_relative_to(root) or len(parts := place.relative_to(root).parts) < 2:
        return None
    return f"{parts[0]}://{'/'.join(parts[1:])}"


def check_writable(path: str | os.PathLike, remedy: str) -> None:
    """Refuses to write into a run in an object store.

    Args:
      path: Run folder, or a path in it.
      remedy: End of the message.

    Raises:
      UserError: The path is a URL, or in a mirror.
    """
    url = as_url(path) if is_url(path) else url_of(path)
    if url is not None:
        raise UserError(f"{url} is in an object store, and this command writes no files there; {remedy}")
