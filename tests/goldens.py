"""Golden files: comparison of texts with checked-in files."""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, kind: str, text: str) -> None:
    path = GOLDEN / f"{name.removeprefix('experiments/').removesuffix('.py').replace('/', '_')}.{kind}.txt"
    if os.environ.get("JAXDL_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing; see tests/testing/test_golden.py"
    assert text == path.read_text(), f"{path.name} differs; see tests/testing/test_golden.py"
