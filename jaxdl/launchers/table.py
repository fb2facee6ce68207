"""What a person sees of a sweep: a live table on a terminal, a line for each event elsewhere."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from jaxdl.launchers import Job
from jaxdl.training.progress import duration, number

_ROWS = 30  # of the table; of more runs those that wait and are done are counted
_WORDS = {0: "finished", 2: "mistake", 75: "stopped"}


class Table:
    """The runs of a sweep with their state, step and loss; a context manager.

    Args:
      jobs: all of them.
      file: where to write; standard output if None.
      console: a rich Console to use instead of one made for `file`.
    """

    def __init__(self, jobs: Sequence[Job], *, file: TextIO | None = None, console: Any = None):
        from rich.console import Console

        self._console = console or Console(file=file or sys.stdout, highlight=False)
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
        """Says that a run has begun, for the first time or again."""
        self._states[job.folder] = "running" if not tries else f"running, try {tries + 1}"
        self._since[job.folder] = time.monotonic()
        self._say(job, "started" if not tries else f"started, try {tries + 1}")

    def ended(self, job: Job, code: int) -> None:
        """Says with what exit code a run has ended."""
        took = time.monotonic() - self._since.pop(job.folder)
        self._took[job.folder] = self._took.get(job.folder, 0.0) + took
        self._states[job.folder] = _WORDS.get(code, f"failed ({code})")
        self._say(job, f"{self._states[job.folder]} after {duration(took)}  {_progress(job)}")

    def refresh(self) -> None:
        """Draws the table again, once a second."""
        if self._live is not None and time.monotonic() - self._drawn >= 1.0:
            self._drawn = time.monotonic()
            self._live.update(self._draw(), refresh=True)

    def _say(self, job: Job, event: str) -> None:
        if self._live is None:
            self._console.print(f"{job.name}  {event}".rstrip(), markup=False, emoji=False, soft_wrap=True)
            self._console.file.flush()

    def _draw(self) -> Any:
        from rich.table import Table as Grid

        grid = Grid("run", "state", "progress", "time", box=None)
        shown = self._jobs
        if len(shown) > _ROWS:
            shown = [job for job in shown if self._states[job.folder] not in ("waiting", "finished")]
        for job in shown[:_ROWS]:
            begun = self._since.get(job.folder)
            seconds = self._took.get(job.folder, 0.0) + (0.0 if begun is None else time.monotonic() - begun)
            grid.add_row(job.name, self._states[job.folder], _progress(job), duration(seconds) if seconds else "")
        states = list(self._states.values())
        done = sum(state == "finished" for state in states)
        grid.caption = f"{done} of {len(states)} finished, {states.count('waiting')} waiting"
        return grid


def _progress(job: Job) -> str:
    """The last step that a run has told of, and its loss."""
    try:
        with (job.folder / "metrics.jsonl").open("rb") as file:
            begin = file.seek(max(0, file.seek(0, 2) - 8192))
            rows = [json.loads(line) for line in file.read().split(b"\n")[bool(begin) : -1]]
    except (OSError, ValueError):
        return ""
    told = [row for row in rows if row.get("split") == "train"]
    if not told:
        return ""
    loss = next((f"  {name} {number(value)}" for name, value in told[-1].items() if name.endswith("loss")), "")
    return f"step {told[-1]['step']}/{job.steps}{loss}"
