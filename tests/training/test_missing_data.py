"""Loaded data of a run."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.dataset import Data, Dataset
from jaxdl.errors import UserError
from jaxdl.training.sources import load_sources


def test_class_names_that_are_not_utf8_are_refused(tmp_path):
    for name in (b"cat", b"\xff"):
        folder = os.path.join(tmp_path, os.fsdecode(name))
        os.mkdir(folder)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(os.path.join(folder, "1.png"))
    with pytest.raises(UserError, match=r"train has the class '.udcff', which is not valid UTF-8; rename it"):
        load_sources(Data(train=Dataset(f"folder:{tmp_path}", "train"), evals={}, batch_size=1))
