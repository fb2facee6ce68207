"""Places of run folders: names, search below a folder, output folders of commands."""

import os
from pathlib import Path

from jaxdl.errors import UserError
from jaxdl.home import refuse_url
from jaxdl.remote import check_writable
from jaxdl.runs.files import leads_outside


def default_name(recipe: Path, fingerprint: str) -> str:
    """Returns the name of a run folder, which is the same for the same recipe and configuration."""
    return f"{recipe.stem}-{fingerprint[:8]}"


def is_run(path: str | os.PathLike) -> bool:
    """Returns whether `path`, not a URL, is a run folder: it contains config.json or manifest.json."""
    refuse_url(path)
    return (Path(path) / "config.json").is_file() or (Path(path) / "manifest.json").is_file()


def find_runs(root: str | os.PathLike, depth: float = 3) -> list[Path]:
    """Lists the run folders at or below a folder, sorted by name.

    Hidden folders, folders that cannot be read, and the content of run folders are skipped.

    Args:
      root: Folder to search. A folder that does not exist has no runs.
      depth: Levels below `root`; `math.inf` for all.
    """
    return _find_runs(Path(root), depth, set())


def _find_runs(root: Path, depth: float, seen: set[Path]) -> list[Path]:
    if is_run(root):
        return [root]
    if depth == 0 or not root.is_dir() or not os.access(root, os.R_OK | os.X_OK) or root.resolve() in seen:
        return []
    seen.add(root.resolve())  # symbolic links may form cycles
    children = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [run for child in children for run in _find_runs(child, depth - 1, seen)]


def hint_near(path: str | os.PathLike) -> str:
    """Returns the end of a "not a run" message: up to 5 run folders below `path` or one of its two parents."""
    path = Path(path)
    for root in (path, *list(path.parents)[:2]):
        if root.is_dir() and (runs := find_runs(root, depth=2)):
            return f"runs near it: {', '.join(map(str, runs[:5]))}"
    return "no run is near it"


def output_folder(run: str | os.PathLike, name: str) -> Path:
    """Returns a folder of a run for the output of a command. Raises UserError if it is a link out of the run folder."""
    folder = Path(run) / name
    check_writable(folder, "name a local folder with a flag, see --help")
    if leads_outside(folder, Path(run)):
        raise UserError(f"{folder} is a symbolic link out of the run folder; name the folder to write to with a flag")
    return folder
