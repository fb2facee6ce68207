"""Where data, tokenizers and pretrained weights lie on this machine, and which paths are URLs of object stores."""

import os
import re
from pathlib import Path

from jaxdl.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MERGED = re.compile(r"(s3|gs|gcs|az|abfs):/(?!/)")  # `Path` merges the slashes


def is_url(path: str | os.PathLike) -> bool:
    """Returns whether a path is a URL such as "s3://bucket/runs", also after `Path` has merged its slashes."""
    text = os.fspath(path)
    return bool(_URL.match(text) or _MERGED.match(text))


def as_url(path: str | os.PathLike) -> str:
    """Returns a URL with both slashes behind its scheme and none at its end."""
    scheme, separator, rest = _MERGED.sub(r"\1://", os.fspath(path)).partition("://")
    return f"{scheme}{separator}{rest.rstrip('/')}"


def refuse_url(path: str | os.PathLike, name: str = "") -> None:
    """Raises UserError for a URL where only a local path is supported.

    Args:
      path: Path.
      name: Flag in the message, such as "--output=". "": none.
    """
    if is_url(path):
        raise UserError(
            f"{name}{as_url(path)} is a URL, and only a local path is supported here; give a local or mounted one"
        )


def expanded(path: str | os.PathLike) -> Path:
    """Returns a local path with `~` replaced by the home folder; `jaxdl.remote.local` also takes URLs.

    Raises:
      UserError: The path is a URL, or the home folder is unknown: HOME is not set, or the user does not exist.
    """
    refuse_url(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"the home folder in {path} is unknown; set HOME, or give a path without ~") from None


def data_home() -> Path:
    """The folder of all data: the environment variable JAXDL_DATA, else `~/.cache/jaxdl`."""
    return expanded(os.environ.get("JAXDL_DATA") or "~/.cache/jaxdl")
