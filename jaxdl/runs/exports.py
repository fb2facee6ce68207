"""Folders of exported models, which never replace other files."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxdl.errors import UserError, write_errors
from jaxdl.runs.folder import RunFolder

MARKER = "jaxdl_export.json"  # names the run and the files of an export


@contextlib.contextmanager
def export_folder(folder: Path, run: RunFolder) -> Iterator[Path]:
    """Yields a temporary folder whose files are moved to `folder` if no error occurs.

    An earlier export of the same run is replaced. Nothing else is.

    Raises:
      UserError: `folder` has other files, or is not writable.
    """
    identity = _identity(run)
    with write_errors(folder):
        previous = _previous(folder, identity, run)
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        written = sorted(file.name for file in part.iterdir())
        others = [name for name in written if name not in previous and (folder / name).exists()]
        if others:
            raise UserError(f"{folder} has {', '.join(others)}, which the export would replace; choose another folder")
        with write_errors(folder):
            folder.mkdir(exist_ok=True)
            for name in previous:
                (folder / name).unlink(missing_ok=True)
            (part / MARKER).write_text(json.dumps({"run": identity, "files": [*written, MARKER]}) + "\n")
            for name in (*written, MARKER):
                os.replace(part / name, folder / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _identity(run: RunFolder) -> str:
    """Returns a digest of a run's configuration and the start of its first attempt."""
    return hashlib.sha256(json.dumps([run.config(), run.manifest()["attempts"][0]["start"]]).encode()).hexdigest()


def _previous(folder: Path, identity: str, run: RunFolder) -> list[str]:
    """Returns the files of an earlier export of the run in `folder`, [] if it is empty or does not exist."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    marker = folder / MARKER
    export = json.loads(marker.read_text()) if marker.is_file() else {}
    if export.get("run") != identity:
        raise UserError(f"{folder} is not empty and not an export of {run.path}; choose another folder")
    return [Path(name).name for name in export["files"]]
