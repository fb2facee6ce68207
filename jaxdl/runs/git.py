"""Output of git commands."""

import os
import subprocess
from pathlib import Path


class GitError(Exception):
    """Failure of a git command: git is not installed, or its message in one line."""


def git(folder: Path, *arguments: str) -> str:
    """Returns what a git command prints when it is run in `folder`.

    Variables such as GIT_DIR, which git sets for its hooks, are removed from the environment.

    Raises:
      GitError: Git is not installed, takes more than a minute, or exits with an error: no repository, no commit.
    """
    # A repository may belong to another user (the mount of a container), so its settings must not run programs.
    options = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    command = ["git", *options, "--no-optional-locks", "-C", str(folder), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        raise GitError(f"git failed in {folder}: {' '.join(error.stderr.split())}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"cannot run git: {error}") from error
    return done.stdout
