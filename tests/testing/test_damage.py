"""Random damage to a run and its prepared data: every command names the file, or its output is that of the intact run.

`python -m benchmarks.mutations` tests many more.
"""

from pathlib import Path

import pytest

from jaxdl.testing.damage import HARMLESS, NOTICED, Scene

ROOT = Path(__file__).parents[2]
COUNT = 24


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return Scene(tmp_path_factory.mktemp("damage") / "texts", "tests/damaged/texts.py", ["--text=dull fine warm"])


def test_random_damage_is_named_or_harmless(scene, monkeypatch):
    monkeypatch.chdir(ROOT)
    faults = []
    for mutation in scene.draw(COUNT, seed=0):
        results = scene.test(mutation, count=2)
        faults += [f"{mutation}: {result}" for result in results if result.outcome not in (HARMLESS, NOTICED)]
    assert not faults, "\n".join(faults)
