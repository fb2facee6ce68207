"""Saving and restoring a checkpoint, against torch.save and torch.load of the same arrays.

  python -m benchmarks.checkpoint_vs_torch [--mebibytes=96] [--rounds=5]

jaxdl computes the SHA-256 of every array when it saves, verifies it when it restores, and keeps one checkpoint. A save
ends when the data is on the disk: TensorStore flushes its files, and os.fsync follows torch.save. Files that are read
are in the page cache. Before timing, the restored arrays must equal the saved ones. Needs the peer extra.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Repeated, measure, report
from benchmarks.training import prepare


class Ours:
    """jaxdl: `Checkpoints` of a train state."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]):
        import jax

        from jaxdl.training.checkpoint import CheckpointPolicy, Checkpoints
        from jaxdl.training.state import TrainState

        self.state = TrainState(jax.numpy.int32(0), jax.numpy.int32(0), jax.device_put(arrays), {}, {}, {}, {})
        self.abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), self.state
        )
        self.checkpoints = Checkpoints(path, CheckpointPolicy(latest=1))

    def __enter__(self):
        return self

    def __exit__(self, *error: Any) -> None:
        self.checkpoints.__exit__(*error)

    def save(self) -> None:
        self.state = self.state.replace(step=self.state.step + 1)
        self.checkpoints.save(self.state, {})
        self.checkpoints.wait()

    def restore(self) -> Any:
        restored = self.checkpoints.restore(self.abstract)
        assert restored is not None
        return restored.state.params


class Theirs:
    """PyTorch: one file."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]):
        import torch

        self.path, self.tensors = path, {name: torch.from_numpy(array) for name, array in arrays.items()}

    def save(self) -> None:
        import torch

        with self.path.open("wb") as file:
            torch.save(self.tensors, file)
            file.flush()
            os.fsync(file.fileno())

    def restore(self) -> Any:
        import torch

        return torch.load(self.path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=96, help="size of the state, in arrays of 4 MiB")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    prepare()
    count = arguments.mebibytes // 4
    draws = np.random.default_rng(0)
    arrays = {f"array{i}": draws.standard_normal((1024, 1024), np.float32) for i in range(count)}
    with tempfile.TemporaryDirectory() as folder, Ours(Path(folder) / "jaxdl", arrays) as ours:
        sides: dict[str, Any] = {"jaxdl": ours, "torch.save": Theirs(Path(folder) / "torch", arrays)}
        for name, side in sides.items():
            side.save()
            restored = side.restore()
            if not all(np.array_equal(restored[key], array) for key, array in arrays.items()):
                raise SystemExit(f"{name} restores other arrays")
        for title, part in (("checkpoint save", "save"), ("checkpoint restore", "restore")):
            contestants = {name: Repeated(getattr(side, part)) for name, side in sides.items()}
            rates = measure(contestants, arguments.mebibytes, 1, arguments.rounds)
            report(title, rates, arguments.mebibytes, "MiB/s")


if __name__ == "__main__":
    main()
