"""Recipe, data settings and COCO command of the README run as printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.cnn import coco_detection
from jaxdl.commands.cli import main
from jaxdl.config.experiment import build
from jaxdl.config.overrides import resolve
from jaxdl.data.pipeline import Batches, eval_batches
from jaxdl.models.resnet import ResNet, resnet50
from jaxdl.training.sources import load_sources

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def home(tmp_path):
    """Home folder with images in five classes, and COCO's two splits with boxes in three classes."""
    rng = np.random.default_rng(0)
    for label in ("daisy", "dandelion", "rose", "sunflower", "tulip"):
        (tmp_path / "flowers" / label).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "flowers" / label / f"{number}.png")
    for split in ("train2017", "val2017"):
        (tmp_path / "mine" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(8):
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


def coco_arguments() -> list[str]:
    command = re.search(r"python launch\.py (--config=experiments/cnn/coco_detection\.py(?:.*\\\n)*.*)", README)
    assert command
    return command[1].replace("\\\n", " ").split()


def test_the_coco_command_loads_the_splits_of_cocos_layout(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    config, *settings = (argument.partition("=")[2] for argument in coco_arguments())
    data = build(resolve(config, settings)).data
    sources = load_sources(data)
    assert [len(source) for source in (sources.train, *sources.evals.values())] == [8, 8]


def test_photographs_of_different_sizes_become_batches(tmp_path, monkeypatch):
    for number in range(10):
        path = tmp_path / "photographs" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (150 + number, 170 - number)).save(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    code = re.search(r"```python\n([^`]*ResizeCrop[^`]*)```", README)
    assert code
    scope: dict = {}
    exec(code[1], scope)
    data, sources = scope["data"], load_sources(scope["data"])
    assert Batches(sources.train, data, seed=0).at(0)["image"].shape == (64, 128, 128, 3)
    (batch,) = eval_batches(sources.evals["validation"], 2, data.eval_transforms)
    assert batch["image"].shape == (2, 128, 128, 3)


def small_resnet(dtype: str) -> ResNet:
    """Returns a small network of ResNet-50's form, which itself takes 45 s of CPU time to compile."""
    return resnet50(stage_sizes=(1, 1, 1, 1), width=4, dtype=dtype)


@pytest.mark.slow
def test_the_coco_command_runs_as_printed(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(coco_detection, "resnet50", small_resnet)
    small = ("size=128", "data.batch_size=8", "task.model.channels=8", "task.model.head_depth=1")
    settings = ("steps=1", "data.workers=0", "optimizers.train.warmup=0", *small)
    arguments = (f"--workdir={home / 'run'}", *(f"--set={setting}" for setting in settings))
    assert main((*coco_arguments(), *arguments)) == 0
    result = json.loads((home / "run" / "result.json").read_text())
    assert result["step"] == 1
    assert 0.0 <= result["metrics"]["validation"]["map"] <= 1.0
