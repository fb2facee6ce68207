"""Files of the format safetensors."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError

from jaxdl.errors import WriteError
from jaxdl.interop.huggingface.files import write_folder
from jaxdl.interop.stablehlo import write_program


@pytest.fixture
def full_disk(monkeypatch):
    """Raises the error of safetensors on a full disk."""

    def save(*arguments, **settings):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", save)


def write_huggingface(folder: Path):
    write_folder(folder, {"w": np.ones(2, np.float32)}, {"config.json": {}})


def write_stablehlo(folder: Path):
    specs = {"x": ((2,), np.float32)}
    write_program(
        folder, lambda weights, batch: batch["x"] * weights["w"], {"w": np.ones(2, np.float32)}, specs, ("cpu",)
    )


@pytest.mark.parametrize("write", [write_huggingface, write_stablehlo])
@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_reported_with_the_file_and_the_remedy(tmp_path, write):
    with pytest.raises(WriteError, match=r"safetensors: No space left on device; free some space and run again"):
        write(tmp_path)
