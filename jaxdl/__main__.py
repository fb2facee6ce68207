"""The command `jaxdl`: python -m jaxdl COMMAND."""

import sys

# `python -m` puts the working folder first in the search path: another person's json.py there would be imported.
if not sys.flags.safe_path and sys.path[0] != __file__.removesuffix("/jaxdl/__main__.py"):
    del sys.path[0]

from jaxdl.start import launch

sys.exit(launch())
