"""Recipe and COCO command of the README run as printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def home(tmp_path):
    """Home folder with images in five classes, and three COCO splits of boxes in three classes."""
    rng = np.random.default_rng(0)
    for label in ("daisy", "dandelion", "rose", "sunflower", "tulip"):
        (tmp_path / "flowers" / label).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "flowers" / label / f"{number}.png")
    for split in ("train", "validation"):
        (tmp_path / "mine" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(
                tmp_path / "mine" / split / f"{number}.png"
            )
            images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
            box = {"bbox": [8, 8, 30, 20], "area": 600, "iscrowd": 0}
            annotations.append({"id": number, "image_id": number, "category_id": 1 + number % 3, **box})
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1 + number, "name": name} for number, name in enumerate("abc")],
        }
        (tmp_path / "mine" / "annotations").mkdir(exist_ok=True)
        (tmp_path / "mine" / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return tmp_path


def run(home: Path, *arguments: str) -> dict:
    environment = {**os.environ, "HOME": str(home), "JAX_PLATFORMS": "cpu", "JAXDL_DATA": str(home / "data")}
    command = [sys.executable, "launch.py", *arguments, f"--workdir={home / 'run'}"]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return json.loads((home / "run" / "result.json").read_text())


def test_the_recipe_runs_as_printed(home):
    recipe = re.search(r"### Your own recipe.*?```python\n(.*?)```", README, re.DOTALL)
    command = re.search(r"`python launch\.py (--config=~/mine/flowers\.py)`", README)
    assert recipe
    assert command
    (home / "mine" / "flowers.py").write_text(recipe[1])
    result = run(home, command[1], "--set=steps=2")
    assert result["step"] == 2
    assert 0.0 <= result["metrics"]["validation"]["accuracy"] <= 1.0


@pytest.mark.slow
def test_the_coco_command_runs_as_printed(home):
    command = re.search(r"python launch\.py (--config=experiments/cnn/coco_detection\.py.*)", README)
    assert command
    small = ("size=128", "data.batch_size=2", "data.workers=0", "optimizers.train.warmup=0")
    result = run(home, *command[1].split(), "--set=steps=1", *(f"--set={setting}" for setting in small))
    assert result["step"] == 1
    assert 0.0 <= result["metrics"]["validation"]["map"] <= 1.0
