"""The command `jaxdl`, runnable from a checkout: python launch.py COMMAND."""

import sys

from jaxdl.start import launch

if __name__ == "__main__":
    sys.exit(launch())
