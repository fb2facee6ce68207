"""The command `jaxdl`: python -m jaxdl COMMAND."""

import sys

from jaxdl.commands.cli import main

sys.exit(main())
