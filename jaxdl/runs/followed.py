"""Evaluations of a run by another process than the one that trains it, evaluations.jsonl in the run folder.

One JSON object for each evaluated checkpoint and split, as in metrics.jsonl, with `checkpoint`, a digest of its state.
Of two rows with the same step and split the later one counts.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.runs import metrics
from jaxdl.runs.files import leads_outside

NAME = "evaluations.jsonl"


def rows(run: Path) -> list[dict[str, Any]]:
    """Returns the rows of a run, without `checkpoint`; none if it was not followed.

    Raises:
      UserError: The file cannot be read.
    """
    return [{name: value for name, value in row.items() if name != "checkpoint"} for row in _read(run).values()]


def metrics_at(run: Path, step: int) -> dict[str, dict[str, Any]]:
    """Returns {evaluation: {metric: value}} of the checkpoint of a step."""
    own = {row["split"]: row for row in rows(run) if row["step"] == step}
    return {split: {key: row[key] for key in row if key not in ("step", "split")} for split, row in own.items()}


def _read(run: Path) -> dict[tuple[int, str], dict[str, Any]]:
    path = run / NAME
    if leads_outside(path, run):
        raise UserError(f"{path} is a symbolic link out of the run folder; replace it by a copy")
    return {(row["step"], row["split"]): row for row in metrics.parse(path)[0]}


class Evaluations:
    """Evaluations of a run, to which rows are added.

    Raises:
      UserError: The file cannot be read.
    """

    def __init__(self, run: Path):
        self._run = run
        self._path = run / NAME
        self._rows = _read(run)
        if not metrics.parse(self._path)[1]:  # the last line is incomplete after a kill
            metrics.write(self._path, self._rows.values())

    def has(self, step: int, split: str, checkpoint: str) -> bool:
        """Returns whether this state was evaluated."""
        return self._rows.get((step, split), {}).get("checkpoint") == checkpoint

    def add(self, step: int, split: str, checkpoint: str, figures: Mapping[str, float]) -> None:
        """Appends the metrics of an evaluation. Raises WriteError."""
        row = {"step": step, "split": split, "checkpoint": checkpoint, **figures}
        metrics.append(self._path, row)
        self._rows[step, split] = row


def checkpoint_digest(digests: Mapping[str, str]) -> str:
    """Returns a digest, 16 hex digits, of the digests of a checkpoint's arrays."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]
