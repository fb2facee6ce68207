"""Whether code is JavaScript, as Node.js sees it."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def accepted(texts: Sequence[str]) -> float | None:
    """The share of texts, each a module, that `node --check` accepts, 0 to 1; nothing is run. None without Node.js."""
    node = shutil.which("node")
    if node is None or not len(texts):
        return None
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            path = Path(folder) / f"{number}.mjs"
            path.write_text(text, encoding="utf-8")
            right += subprocess.run([node, "--check", path], capture_output=True, check=False).returncode == 0
    return right / len(texts)
