"""Where data, tokenizers and pretrained weights lie on this machine."""

import os
from pathlib import Path


def data_home() -> Path:
    """The folder of all data: the environment variable JAXDL_DATA, else `~/.cache/jaxdl`."""
    return Path(os.environ.get("JAXDL_DATA") or "~/.cache/jaxdl").expanduser()
