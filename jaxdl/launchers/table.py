"""Progress of a sweep: a live table on a terminal, one line per event elsewhere."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from jaxdl.launchers import Job
from jaxdl.runs.table import rich_table
from jaxdl.streams import console as make_console
from jaxdl.training.progress import duration, number

_ROWS = 30  # of the table; in longer sweeps, waiting and finished runs are only counted
_WORDS = {0: "finished", 2: "usage error", 75: "stopped", 76: "pruned"}


class Table:
    """Table of a sweep's runs with state, step and loss; a context manager.

    Args:
      jobs: Runs of the sweep; those of a search are added when they start.
      file: Output stream. None: standard output.
      console: rich Console. None: one for `file`.
    """

    def __init__(self, jobs: Sequence[Job], *, file: TextIO | None = None, console: Any = None):
        self._console = console or make_console(file or sys.stdout)
        self._states = {job.folder: "waiting" for job in jobs}
        self._jobs = list(jobs)
        self._since: dict[Any, float] = {}
        self._took: dict[Any, float] = {}
        self._drawn = 0.0
        self._live: Any = None

    def __enter__(self) -> "Table":
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(self._draw(), console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live is not None:
            self._live.update(self._draw(), refresh=True)
            self._live.stop()

    def started(self, job: Job, tries: int) -> None:
        """Reports that a run was started, for the first time or again."""
        if job.folder not in self._states:
            self._jobs.append(job)
        self._states[job.folder] = "running" if not tries else f"running, try {tries + 1}"
        self._since[job.folder] = time.monotonic()
        self._print(job, "started" if not tries else f"started, try {tries + 1}")

    def ended(self, job: Job, code: int) -> None:
        """Reports the exit code of a run."""
        took = time.monotonic() - self._since.pop(job.folder)
        self._took[job.folder] = self._took.get(job.folder, 0.0) + took
        self._states[job.folder] = _WORDS.get(code, f"failed ({code})")
        self._print(job, f"{self._states[job.folder]} after {duration(took)}  {_progress(job)}")

    def refresh(self) -> None:
        """Redraws the table, at most once per second."""
        if self._live is not None and time.monotonic() - self._drawn >= 1.0:
            self._drawn = time.monotonic()
            self._live.update(self._draw(), refresh=True)

    def _print(self, job: Job, event: str) -> None:
        if self._live is None:
            self._console.print(f"{job.name}  {event}".rstrip(), markup=False, emoji=False, soft_wrap=True)
            self._console.file.flush()

    def _draw(self) -> Any:
        jobs = self._jobs
        if len(jobs) > _ROWS:
            jobs = [job for job in jobs if self._states[job.folder] not in ("waiting", "finished")]
        rows = []
        for job in jobs[:_ROWS]:
            begun = self._since.get(job.folder)
            seconds = self._took.get(job.folder, 0.0) + (0.0 if begun is None else time.monotonic() - begun)
            rows.append((job.name, self._states[job.folder], _progress(job), duration(seconds) if seconds else ""))
        states = list(self._states.values())
        done = sum(state == "finished" for state in states)
        table = rich_table(("run", "state", "progress", "time"), rows)
        table.caption = f"{done} of {len(states)} finished, {states.count('waiting')} waiting"
        return table


def _progress(job: Job) -> str:
    """Formats the last step in metrics.jsonl and its loss."""
    try:
        with (job.folder / "metrics.jsonl").open("rb") as file:
            begin = file.seek(max(0, file.seek(0, 2) - 8192))
            rows = [json.loads(line) for line in file.read().split(b"\n")[bool(begin) : -1]]
    except (OSError, ValueError):
        return ""
    last = next((row for row in reversed(rows) if row.get("split") == "train"), None)
    if last is None:
        return ""
    loss = next((f"  {name} {number(value)}" for name, value in last.items() if name.endswith("loss")), "")
    return f"step {last['step']}/{job.steps}{loss}"
