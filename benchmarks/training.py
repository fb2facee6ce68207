"""Train steps of jaxdl and PyTorch for the comparisons, with equal settings of the process."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.contest import Contestant, measure, report
from jaxdl.runs.environment import configure, tune_malloc

TOLERANCE = 1e-4  # largest relative difference of losses


def prepare(threads: int = 2) -> None:
    """Restarts with the settings of launch.py, and restricts XLA and PyTorch to `threads` threads."""
    tune_malloc()
    if hasattr(os, "sched_setaffinity"):  # XLA uses one thread per available core
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["JAX_PLATFORMS"] = "cpu"
    configure()
    import torch

    torch.set_num_threads(threads)


def parse_sizes(description: str | None, batch: int, steps: int) -> argparse.Namespace:
    """Parses `--batch`, `--steps` per round and `--rounds`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--steps", type=int, default=steps, help="steps per round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def build_task(recipe: str) -> Any:
    """Builds the task of a generative recipe without the classifier of its FID."""
    import fiddle as fdl

    from jaxdl.config import resolve

    return fdl.build(resolve(recipe, ["start=None", "task.fid_classifier=None"]).task)


def random_images(batch: int, shape: Sequence[int] = (28, 28, 1), classes: int = 10) -> dict[str, np.ndarray]:
    """Returns a batch of random uint8 images with labels."""
    draws = np.random.default_rng(0)
    return {
        "image": draws.integers(0, 256, (batch, *shape), dtype=np.uint8),
        "label": draws.integers(0, classes, batch).astype(np.int32),
        "weight": np.ones(batch, np.float32),
        "index": np.arange(batch, dtype=np.int32),
    }


def variants() -> dict[str, tuple[bool, bool]]:
    """Returns {name: (compiled, channels_last)} of PyTorch; torch.compile chooses the layout of convolutions itself."""
    return {
        "PyTorch eager": (False, False),
        "PyTorch eager, channels_last": (False, True),
        "PyTorch compiled": (True, True),
    }


def filled(layer: Any, weight: np.ndarray, bias: np.ndarray | None = None) -> Any:
    """Returns a PyTorch layer with copied parameters; `weight` is reshaped."""
    import torch

    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)).reshape(layer.weight.shape))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(np.array(bias)))
    return layer


class Ours:
    """jaxdl: the compiled train step of a task."""

    def __init__(self, task: Any, optimizers: Mapping[str, Any], batch: Mapping[str, np.ndarray]):
        import flax.linen as nn
        import jax

        from jaxdl.training.state import init_state
        from jaxdl.training.step import make_train_step

        init = jax.jit(lambda batch: init_state(task, optimizers, None, jax.numpy.int32(0), batch))
        self.batch = jax.device_put(dict(batch))
        self.state = nn.meta.unbox(init(self.batch))
        self.step = jax.jit(make_train_step(task, optimizers), donate_argnums=0)

    def run(self, steps: int) -> float:
        """Trains for `steps` and returns the last loss, summed over the phases."""
        report = None
        for _ in range(steps):
            self.state, report = self.step(self.state, self.batch)
        assert report is not None
        return float(sum(figures["loss"] for figures in report.figures.values()))


class Theirs:
    """PyTorch: one loss and optimizer per phase.

    Attributes:
      networks: Networks by group.
      phases: (group that is trained, `loss() -> scalar`, optimizer), in the order of the step.
    """

    def __init__(
        self, networks: Mapping[str, Any], phases: Sequence[tuple[str, Callable[[], Any], Any]], compiled: bool = False
    ):
        import torch

        self.networks = networks
        self.phases = [(group, torch.compile(loss) if compiled else loss, opt) for group, loss, opt in phases]

    def run(self, steps: int) -> float:
        """Trains for `steps` and returns the last loss, summed over the phases."""
        total = 0.0
        for _ in range(steps):
            losses = [self._update(*phase) for phase in self.phases]
            total = float(sum(losses))
        return total

    def _update(self, group: str, loss: Callable[[], Any], optimizer: Any) -> Any:
        for name, network in self.networks.items():
            network.requires_grad_(name == group)
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()


def verify_losses(contestants: Mapping[str, Contestant], steps: int = 3) -> None:
    """Trains for `steps` and exits if the losses differ from those of "jaxdl"."""
    losses = {name: np.array([contestant.run(1) for _ in range(steps)]) for name, contestant in contestants.items()}
    print(f"losses of {steps} steps {', '.join(f'{loss:.5f}' for loss in losses['jaxdl'])}")
    for name, values in losses.items():
        difference = np.abs(values / losses["jaxdl"] - 1).max()
        print(f"{name}: largest relative difference of losses {difference:.1e}")
        if not difference <= TOLERANCE:  # also fails for NaN
            raise SystemExit("the networks are not equal, so their speeds cannot be compared")


def compare(workload: str, ours: Contestant, peers: Mapping[str, Any], sizes: argparse.Namespace) -> None:
    """Verifies the losses with jaxdl's random numbers, then measures with those that PyTorch draws (`draw = None`)."""
    contestants = {"jaxdl": ours, **peers}
    verify_losses(contestants)
    for peer in peers.values():
        peer.draw = None
    report(workload, measure(contestants, sizes.batch, sizes.steps, sizes.rounds), sizes.batch)
