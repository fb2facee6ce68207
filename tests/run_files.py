"""Edits of the sealed files of a run folder, as jaxdl itself would write them."""

from pathlib import Path

from jaxdl.runs.seal import Seal


def rewrite(path: Path, text: str) -> None:
    """Writes a file of a run folder, such as `run / "manifest.json"`, and its seal."""
    Seal(path.parent).write(path.name, text)
