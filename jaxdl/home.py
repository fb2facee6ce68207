"""Where data, tokenizers and pretrained weights lie on this machine."""

import os
from pathlib import Path

from jaxdl.errors import UserError


def expanded(path: str | os.PathLike) -> Path:
    """Returns a path with `~` replaced by the home folder.

    Raises:
      UserError: The home folder is unknown: HOME is not set, or the user does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"the home folder in {path} is unknown; set HOME, or give a path without ~") from None


def data_home() -> Path:
    """The folder of all data: the environment variable JAXDL_DATA, else `~/.cache/jaxdl`."""
    return expanded(os.environ.get("JAXDL_DATA") or "~/.cache/jaxdl")
