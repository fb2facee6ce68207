"""Owner of a run in an object store, its object `.lock`: the process that trains in it.

Stores have no locks. The owner renews the object while it trains, and another process waits for a renewal.
"""

import hashlib
import os
import re
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jaxdl.errors import UserError, warn
from jaxdl.remote.names import OWNER
from jaxdl.remote.store import Store

RENEWAL = 15.0  # seconds between renewals
EXPIRY = 4 * RENEWAL  # seconds without a renewal after which the owner counts as killed
_OLD = 10 * EXPIRY  # seconds after which a claim has expired even if the clocks of two hosts differ by minutes
_FORMAT = re.compile(r"(?:(process (\d+) on (\S+))\n)?writer (\w+) in (\w+) at (\S+)\n")


@dataclass(frozen=True)
class Claim:
    """Content of the object.

    Attributes:
      writer: Random id of the attempt.
      place: Digest of its host and local folder.
      time: Time of its renewal, ISO 8601, UTC.
      process: "process PID on HOST" while it trains, "" afterwards.
    """

    writer: str
    place: str
    time: str
    process: str = ""

    @property
    def content(self) -> bytes:
        first = f"{self.process}\n" if self.process else ""
        return f"{first}writer {self.writer} in {self.place} at {self.time}\n".encode()

    @property
    def age(self) -> float:
        """Seconds since its renewal, by the clocks of both hosts."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.time)).total_seconds()


class Owner:
    """Claim of this process to train in a run.

    Args:
      store: Store of the run.
      folder: Local folder, locked by this process, so that no other process on this host uses it.
    """

    def __init__(self, store: Store, folder: Path):
        self._store, self.writer = store, secrets.token_hex(8)
        self._place = hashlib.sha256(f"{socket.gethostname()} {folder}".encode()).hexdigest()[:16]
        self.taken = ""  # process that has taken the run over
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="owner", daemon=True)

    def acquire(self) -> str:
        """Claims the run and begins to renew the claim; returns the id of the last attempt, "" if there is none.

        Raises:
          UserError: A process on another host trains in the run.
        """
        before = self._read()
        if before is not None and before.process and before.place != self._place and before.age < _OLD:
            self._wait(before)
        self._write()
        if (now := self._read()) is None or now.writer != self.writer:
            raise UserError(self._refusal(now.process if now else "another process"))
        self._thread.start()
        return before.writer if before is not None else ""

    def check(self) -> bool:
        """Returns whether the run still belongs to this process; if not, `taken` is set."""
        now = self._read()
        if now is not None and now.writer != self.writer:
            self.taken = now.process or "another process"
        return not self.taken

    def require(self) -> None:
        """Raises UserError if another process has taken the run over."""
        if not self.check():
            raise UserError(self.refusal)

    @property
    def refusal(self) -> str:
        """Message if another process has taken the run over."""
        return (
            f"{self.taken} has taken over {self._store.url}; this process has stopped, and its later steps are not"
            " stored"
        )

    def release(self) -> None:
        """Ends the renewals, and the claim unless it was taken over."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.check():
            self._store.write(OWNER, Claim(self.writer, self._place, _now()).content)

    def _wait(self, before: Claim) -> None:
        """Waits until a claim has expired. Raises UserError if it is renewed."""
        ago = f"{before.process} trained in {self._store.url} {before.age:.0f} s ago"
        warn(f"{ago}; waiting {EXPIRY:.0f} s for a sign of it")
        deadline = time.monotonic() + EXPIRY
        while time.monotonic() < deadline:
            time.sleep(min(1.0, EXPIRY / 10))
            now = self._read()
            if now is None or not now.process:
                return
            if now != before:
                raise UserError(self._refusal(now.process))

    def _refusal(self, process: str) -> str:
        return f"{process} trains in {self._store.url}; wait for it, stop it, or use another folder"

    def _renew(self) -> None:
        while not self._stop.wait(RENEWAL):
            try:
                if not self.check():
                    return
                self._write()
            except UserError:
                continue  # the store cannot be reached, which uploads report

    def _write(self) -> None:
        process = f"process {os.getpid()} on {socket.gethostname()}"
        self._store.write(OWNER, Claim(self.writer, self._place, _now(), process).content)

    def _read(self) -> Claim | None:
        match = _FORMAT.fullmatch((self._store.read(OWNER) or b"").decode(errors="replace"))
        return Claim(match[4], match[5], match[6], match[1] or "") if match else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
