"""The command `jaxdl`, runnable from a checkout: python launch.py COMMAND."""

import sys

from jaxdl.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
