"""Training in an object store: a local staging folder that is uploaded in the background."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxdl.errors import UserError, WriteError, warn, write_errors
from jaxdl.home import as_url, data_home, is_url
from jaxdl.remote import mirror_of
from jaxdl.remote.mirror import state_path
from jaxdl.remote.store import Store
from jaxdl.runs.lock import Lock
from jaxdl.runs.owner import Owner
from jaxdl.runs.replica import Replica

POLL = 1.0  # seconds between searches for a new checkpoint
INTERVAL = 30.0  # seconds between uploads without one
LAST_PAUSES = (1, 2, 4, 8)  # seconds between the tries of the last upload


@contextmanager
def stored(workdir: str | os.PathLike, shown: bool = True) -> Iterator[Path]:
    """Yields a local run folder: `workdir`, or the staging folder of one in an object store.

    The staging folder lies below `data_home()/staging`. At the start it is made equal to the run in the store, a
    background thread uploads its changes, and at the end the rest is uploaded.

    Args:
      workdir: Path or URL of the run.
      shown: Whether a line with both is printed.

    Raises:
      UserError: The store cannot be reached, another process trains in the run, the run is distributed, or the last
        upload failed.
    """
    if not is_url(workdir):
        yield Path(workdir)
        return
    url = as_url(workdir)
    _check(url)
    store, folder = Store(url), staging_of(url)
    lock_folder = state_path("staging", url).with_suffix(".run")
    with write_errors(lock_folder):
        lock_folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(lock_folder, url)
    try:
        owner = Owner(store, folder)
        replica = Replica(store, folder, owner.writer, owner.require)
        replica.check()
        _fetch(replica, owner)
        if shown:
            print(f"{url} is uploaded from {folder}", flush=True)
        with _Uploads(replica, owner):
            yield folder
    finally:
        lock.release()


def _fetch(replica: Replica, owner: Owner) -> None:
    last_writer = owner.acquire()
    try:
        replica.fetch(last_writer)
    except BaseException:
        with suppress(UserError):  # the store cannot be reached, which the first error reports
            owner.release()
        raise


def staging_of(url: str) -> Path:
    """Returns the local folder of a run that is trained in an object store."""
    return data_home().absolute() / "staging" / mirror_of(url).relative_to(data_home().absolute() / "objects")


def _check(url: str) -> None:
    mirror_of(url)  # refuses malformed URLs
    if url.partition("://")[2].count("/") < 1:
        raise UserError(f"--workdir={url} is a whole bucket; name a folder in it, such as {url}/runs/mine")
    import jax

    if jax.process_count() > 1:
        raise UserError(
            f"--workdir={url}: several processes write one run, which object stores do not support; mount the bucket"
            " (gcsfuse, mountpoint-s3) or use a shared folder, and give its path"
        )


class _Uploads:
    """Background thread that uploads a staging folder; leaving the context uploads the rest."""

    def __init__(self, replica: Replica, owner: Owner):
        self._replica, self._owner = replica, owner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind, error, traceback) -> None:
        self._stop.set()
        self._thread.join()
        if not self._owner.taken:
            self._finish()
        if self._owner.taken:
            raise UserError(self._owner.refusal) from error

    def _work(self) -> None:
        last, failed, wait = -INTERVAL, False, POLL
        while not self._stop.wait(wait):
            wait = POLL
            if self._owner.taken:
                (self._replica.folder / ".lock").unlink(missing_ok=True)  # ends the training at its next write
                return
            due = time.monotonic() - last >= INTERVAL
            try:
                if self._replica.is_run and (self._replica.has_new_checkpoint() or (due and self._replica.changed())):
                    self._replica.update()
                    last, failed = time.monotonic(), False
            except Exception as problem:  # of any kind, as in trackers; the last upload raises it
                if not failed and not self._owner.taken:
                    warn(f"{problem or type(problem).__name__}; training continues, and the upload is tried again")
                failed, wait = True, INTERVAL

    def _finish(self) -> None:
        for pause in (*LAST_PAUSES, None):
            try:
                if self._replica.is_run and self._replica.changed():
                    self._replica.update()
                self._owner.release()
                return
            except (UserError, OSError) as problem:
                if self._owner.taken:
                    return
                if pause is None:
                    raise WriteError(
                        f"{problem}; the end of the run is not stored, but kept in {self._replica.folder}: run the same"
                        " command again to upload it"
                    ) from problem
            time.sleep(pause)
