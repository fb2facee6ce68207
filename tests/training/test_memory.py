"""A run that does not fit in memory is refused before anything is allocated."""

import jax
import pytest

from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError
from jaxdl.training.checkpoint import CheckpointPolicy
from jaxdl.training.loop import make_program
from jaxdl.training.memory import device_memory, memory_in_use
from jaxdl.training.sources import load_sources


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["task.model.channels=(1000000000,)"],
            r"parameters and optimizer state take 144,000,000,40.* per device, which has .* GB; the largest array is"
            r" params/classifier/stage1/conv2/kernel \[3, 3, 1000000000, 1000000000\]; make the model smaller",
        ),
        (["data.batch_size=800000000"], "a batch of 800000000 examples takes .* GB, and this process has .* GB; use a"),
        (["data.eval_batch_size=800000000"], "a batch of 800000000 examples takes"),
    ],
)
def test_sizes_beyond_the_memory_are_refused(settings, message):
    config = resolve("experiments/cnn/digits.py", settings)
    config.data.train = MockImages(shape=(64, 64, 1), examples=64)
    config.data.evals, config.data.test, config.keep = {}, None, CheckpointPolicy()
    experiment = build(config)
    program = make_program(experiment, load_sources(experiment.data), jax.devices()[:1])
    with pytest.raises(UserError, match=message):
        program.init()


def test_the_devices_of_a_machine_share_its_memory():
    memory = device_memory()
    assert memory is not None
    assert memory * jax.local_device_count() > 2**30


class Accelerator:
    """Device that reports its memory."""

    platform = "gpu"

    def __init__(self, in_use: int, peak: int):
        self._stats = {"bytes_in_use": in_use, "peak_bytes_in_use": peak, "bytes_limit": 100}

    def memory_stats(self) -> dict[str, int]:
        return self._stats


def test_memory_in_use_is_that_of_the_fullest_device(monkeypatch):
    assert memory_in_use() == {}  # CPU devices do not report it
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator(3, 9), Accelerator(5, 7)])
    assert memory_in_use() == {"device_memory": 5.0, "device_memory_peak": 9.0}
