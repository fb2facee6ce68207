"""Names of objects below the URL of a run or of a folder of runs: which of them a reader needs."""

import re
from collections.abc import Collection

# The last object of a checkpoint that is uploaded, and the first that is deleted: a checkpoint without it is not
# complete. Orbax writes it in every checkpoint.
MARKER = "_CHECKPOINT_METADATA"
OWNER = ".lock"  # process that trains in the run, as in a local folder

_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints/\d+)/")
_UNREPORTED = re.compile(r"(?:.*/)?(?:checkpoints|damaged|tensorboard|tracker)/")


def checkpoint_of(name: str) -> str | None:
    """Returns the checkpoint that an object belongs to, such as "checkpoints/50"; None for other objects."""
    match = _CHECKPOINT.match(name)
    return match[1] if match else None


def complete(names: Collection[str]) -> set[str]:
    """Returns the names without those of checkpoints that are not completely uploaded."""
    known = set(names)
    return {name for name in known if (one := checkpoint_of(name)) is None or f"{one}/{MARKER}" in known}


def reported(names: Collection[str]) -> set[str]:
    """Returns the names of files that reports read, which are not those of checkpoints and event files."""
    return {name for name in names if not _UNREPORTED.match(name)}
