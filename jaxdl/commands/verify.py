"""Checks the files of a run against their digests."""

import json
from pathlib import Path
from typing import NamedTuple

from absl.flags import FlagValues

from jaxdl.commands.flags import FORMAT, Command, Flag
from jaxdl.errors import Failed, UserError
from jaxdl.remote import check_writable
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.table import aligned
from jaxdl.training.checkpoint import Checkpoints

COMMAND = Command(
    name="verify",
    summary="Checks the files and checkpoints of a run against their SHA-256",
    synopsis=("RUN [--accept] [--format=json]",),
    flags=(
        Flag("accept", "Accept the files as they are, after a deliberate change.", kind=bool, default=False),
        FORMAT,
    ),
    example="jaxdl verify runs/digits",
    needs="jax",
)

INTACT = "intact"


class Part(NamedTuple):
    """File or checkpoint of a run.

    Attributes:
      name: Path in the run folder.
      state: `INTACT`, or the damage.
    """

    name: str
    state: str


def main(arguments: list[str], flags: FlagValues) -> None:
    run(arguments[0], flags.accept, flags.format)


def run(path: str, accept: bool = False, format: str = "text") -> None:
    """Prints the state of every sealed file and checkpoint. Neither the recipe nor its code is imported.

    Args:
      path: Run folder.
      accept: Whether the files are sealed again as they are. Checkpoints cannot be accepted.
      format: "text" or "json".

    Raises:
      UserError: Not a run folder, or seal.json is damaged and `accept` is False.
      Failed: A part is damaged.
    """
    folder = RunFolder.open(path)
    if accept:
        check_writable(path, "copy it to a local folder, accept it there and copy it back")
        _check_readable(folder)
        folder.seal.accept(folder.sealed_files)
    parts = [*_files(folder), *_checkpoints(folder)]
    damaged = [part for part in parts if part.state != INTACT]
    usable = _usable(parts, finished=(folder.path / "result.json").exists())
    if format == "json":
        print(json.dumps({"run": path, "parts": dict(parts), "usable": usable}, indent=2))
    else:
        print(aligned(parts))
        print(usable)
    if damaged:
        raise Failed(
            f"{len(damaged)} of {len(parts)} parts of {path} are damaged: {', '.join(p.name for p in damaged)}"
        )


def _files(folder: RunFolder) -> list[Part]:
    names = folder.sealed_files
    problems = folder.problems()
    parts = [Part(name, problems.get(name, INTACT)) for name in sorted({*names, *problems})]
    try:
        folder.rows()
    except UserError as error:
        damage = Part("metrics.jsonl", str(error).replace(f"{folder.path}/", ""))
        return [*(part for part in parts if part.name != damage.name), damage]
    return parts


def _checkpoints(folder: RunFolder) -> list[Part]:
    if not folder.has_checkpoint:
        return [] if not (folder.path / "result.json").exists() else [Part("checkpoints", "missing")]
    parts = []
    with Checkpoints(folder.checkpoints) as checkpoints:
        for step in checkpoints.steps:
            name = f"checkpoints/{step}"
            try:
                checkpoints.items(step)
                parts.append(Part(name, INTACT))
            except Exception as error:  # damaged files raise many types; the reason is printed
                reason = " ".join(str(error).split()).replace(f"{folder.path.absolute()}/", "")
                parts.append(Part(name, reason[:200] or type(error).__name__))
    return parts


def _check_readable(folder: RunFolder) -> None:
    """Raises UserError if a file that is to be accepted is missing or not JSON."""
    for name in {"config.json", *folder.sealed_files}:
        if name.endswith(".json"):
            try:
                json.loads((folder.path / name).read_bytes())
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UserError(
                    f"{folder.path / name} cannot be accepted: {reason}; restore it from a copy, or train again to"
                    " derive it"
                ) from error


def _usable(parts: list[Part], finished: bool) -> str:
    """Returns which commands work with the intact parts."""
    checkpoints = [part for part in parts if part.name.startswith("checkpoints")]
    if any(part.state != INTACT and part not in checkpoints for part in parts):
        return (
            "eval, predict, explain and export refuse this run until its files are restored from a copy, or accepted"
            " with --accept; training derives config.json, config.txt, tokenizers and result.json again"
        )
    steps = [Path(part.name).name for part in checkpoints if part.state == INTACT]
    if not checkpoints and not finished:
        return "no checkpoint was saved yet: the same command trains from the start"
    if not steps:
        return "no checkpoint is intact: report and list work; train again in another folder"
    return f"eval, predict, explain, export and resume use step {steps[-1]}"
