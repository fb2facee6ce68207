"""JavaScript validity, checked by Node.js."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def accepted(texts: Sequence[str]) -> float | None:
    """Returns the fraction of texts that pass `node --check` as a module.

    None without Node.js or texts.
    """
    node = shutil.which("node")
    if node is None or not len(texts):
        return None
    valid = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            path = Path(folder) / f"{number}.mjs"
            path.write_text(text, encoding="utf-8")
            valid += subprocess.run([node, "--check", path], capture_output=True, check=False).returncode == 0
    return valid / len(texts)
