"""Optional packages: a missing one is a one-line error with the extra to install."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.data.builders.austen import read_lazy_load
from jaxdl.data.builders.shuttle import read
from jaxdl.data.text.tokenizers import BPE
from jaxdl.errors import UserError
from jaxdl.metrics import detection, restoration, transcription, translation
from jaxdl.testing import tiny
from jaxdl.training.loop import train
from jaxdl.training.sources import Sources

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
IMAGES = np.zeros((1, 16, 16, 1), np.uint8)
SITES = {
    "sacrebleu": ("text", lambda: translation.bleu(["a"], ["a"])),
    "sacrebleu.": ("text", lambda: translation.chrf(["a"], ["a"])),
    "rouge_score.rouge_scorer": ("text", lambda: translation.rouge_l(["a"], ["a"])),
    "tokenizers": ("text", lambda: BPE(300).train(["a"])),
    "jiwer": ("speech", lambda: transcription.error_rates(["a"], ["a"])),
    "skimage.metrics": ("restoration", lambda: restoration.psnr(IMAGES, IMAGES)),
    "skimage.metrics.": ("restoration", lambda: restoration.ssim(IMAGES, IMAGES)),
    "pycocotools.coco": ("detection", lambda: detection.average_precision({}, 1)),
    "rdata": ("rdata", lambda: read(Path("Shuttle.rda"))),
    "rdata.": ("rdata", lambda: read_lazy_load(Path("a.rdx"), Path("a.rdb"))),
}


@pytest.mark.parametrize("module", SITES)
def test_a_missing_package_names_its_extra(module, monkeypatch):
    extra, call = SITES[module]
    monkeypatch.setitem(sys.modules, module.rstrip("."), None)
    with pytest.raises(
        UserError, match=rf"^\S.* needs {module.partition('.')[0]}: pip install -e '\.\[{extra}\]'$"
    ) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_a_missing_package_of_the_evaluation_is_refused_before_the_first_step():
    task = SimpleNamespace(packages={"numpy": "text", "absent_package": "speech"})
    experiment: Any = SimpleNamespace(task=task, evaluate=True)
    sources: Any = Sources(None, {"validation": None})  # type: ignore
    with pytest.raises(UserError, match=r"The evaluation needs absent_package: pip install -e '\.\[speech\]'"):
        train(experiment, None, None, sources, identity={}, wall=lambda: 0.0)


RECIPES = ("cnn/scenes_detection", "rnn/speech", "autoencoder/fashion_restoration", "transformer/summarize")


@pytest.mark.parametrize("recipe", RECIPES)
def test_packages_of_tasks_are_in_their_extras(recipe):
    packages = build(tiny(load_recipe(f"experiments/{recipe}.py"))).task.packages
    assert packages
    for package, extra in packages.items():
        names = {"skimage": "scikit-image", "rouge_score": "rouge-score"}
        assert any(entry.startswith(names.get(package, package)) for entry in EXTRAS[extra])


def test_every_extra_in_a_message_exists_and_all_installs_it():
    named = set()
    for path in (ROOT / "jaxdl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("from_extra" | "install"), [ast.Constant(str(extra)), *_]):
                    named.add(extra)
                case ast.Call(ast.Name("save_tensors"), [_, _, ast.Constant(str(extra))]):
                    named.add(extra)
    assert named - {"readers"} == set(re.findall(r"[a-z]+", EXTRAS["all"][0].partition("[")[2]))
    assert named <= EXTRAS.keys()
