"""Training throughput of a recipe's CNN on CPU: our compiled step against the same network in PyTorch.

  python -m benchmarks.cnn_vs_torch [--config=experiments/cnn/fashion_mnist.py] [--set=depth=1] [--batch=128]

Both train on the same batch of uint8 images in float32 with cross-entropy, label smoothing 0.1 and Nesterov SGD.
PyTorch runs eagerly and under torch.compile, in both memory layouts; the best counts. Before any timing the two must
have equally many parameters, equal logits under copied weights, and equal losses over three steps. Rounds alternate in
one process, with the huge pages that launch.py gives a run. Needs the peer extra.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdl.runs.environment import configure, huge_pages

MEAN, STD, SMOOTHING, RATE, MOMENTUM = 0.286, 0.353, 0.1, 0.05, 0.9


def torch_network(model: Any, channels: int) -> Any:
    """The PyTorch twin of a ConvNet or ResNet; its modules carry the names of ours."""
    from torch import nn

    from benchmarks.torch_cnn import ConvNetTwin, ResNetTwin
    from jaxdl.models.cnn import ConvNet, ResNet

    twins: dict[type, Callable[..., nn.Module]] = {ConvNet: ConvNetTwin, ResNet: ResNetTwin}
    if type(model) not in twins:
        raise SystemExit(f"there is no PyTorch twin of {type(model).__name__}, only of ConvNet and ResNet")
    return twins[type(model)](model, channels)


def copy_weights(params: Any, network: Any) -> None:
    """Copies our parameters into the twin: kernels are transposed to PyTorch's order."""
    import jax
    import torch

    names = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    theirs = dict(network.named_parameters())
    with torch.no_grad():
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            *modules, last = (key.key for key in path)
            array = np.array(leaf)
            if last == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            theirs.pop(".".join([*modules, names[last]])).copy_(torch.from_numpy(array))
    if theirs:
        raise SystemExit(f"the twin has parameters that we have not: {', '.join(theirs)}")


class Ours:
    """jaxdl: the compiled train step."""

    def __init__(self, model: Any, batch: dict[str, np.ndarray]):
        import flax.linen as nn
        import jax
        import optax

        from jaxdl.tasks.image_classification import image_classification
        from jaxdl.training.state import init_state
        from jaxdl.training.step import make_train_step

        task = image_classification(model, label_smoothing=SMOOTHING, mean=MEAN, std=STD)
        optimizers = {"train": optax.sgd(RATE, momentum=MOMENTUM, nesterov=True)}
        init = jax.jit(lambda batch: init_state(task, optimizers, None, jax.numpy.int32(0), batch))
        self.batch = jax.device_put(batch)
        self.state = nn.meta.unbox(init(self.batch))
        self.step = jax.jit(make_train_step(task, optimizers), donate_argnums=0)
        self.forward = jax.jit(lambda params, variables: task.predict(params, variables, self.batch, None))

    @property
    def params(self) -> Any:
        return self.state.params["classifier"]

    def probabilities(self) -> np.ndarray:
        return np.asarray(self.forward(self.state.params, self.state.variables)["probabilities"])

    def run(self, steps: int) -> float:
        """Trains for `steps` and returns the last loss."""
        report = None
        for _ in range(steps):
            self.state, report = self.step(self.state, self.batch)
        assert report is not None
        return float(report.figures["train"]["loss"])


class Theirs:
    """PyTorch: eager or compiled, contiguous or channels_last."""

    def __init__(self, network: Any, batch: dict[str, np.ndarray], compiled: bool, channels_last: bool):
        import torch

        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=layout)
        image = torch.from_numpy(batch["image"].transpose(0, 3, 1, 2).copy())
        self.image = image.contiguous(memory_format=layout)
        self.label = torch.from_numpy(batch["label"].astype(np.int64))
        self.criterion = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        self.optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, nesterov=True, foreach=True)
        self.loss = torch.compile(self._loss) if compiled else self._loss

    def _loss(self, image: Any, label: Any) -> Any:
        return self.criterion(self.network((image.float() / 255 - MEAN) / STD), label)

    def probabilities(self) -> np.ndarray:
        import torch

        self.network.eval()
        with torch.no_grad():
            logits = self.network((self.image.float() / 255 - MEAN) / STD)
        self.network.train()
        return logits.softmax(-1).numpy()

    def run(self, steps: int) -> float:
        """Trains for `steps` and returns the last loss."""
        loss = None
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.image, self.label)
            loss.backward()
            self.optimizer.step()
        assert loss is not None
        return float(loss.detach())


def verify(ours: Ours, theirs: Theirs) -> None:
    """Equal parameter counts, equal probabilities, equal losses over three steps; or the benchmark ends here."""
    import jax

    counts = [sum(leaf.size for leaf in jax.tree.leaves(ours.params))]
    counts.append(sum(tensor.numel() for tensor in theirs.network.parameters()))
    if counts[0] != counts[1]:
        raise SystemExit(f"{counts[0]} parameters in ours, {counts[1]} in PyTorch's")
    copy_weights(ours.params, theirs.network)
    gap = np.abs(ours.probabilities() - theirs.probabilities()).max()
    losses = [(ours.run(1), theirs.run(1)) for _ in range(3)]
    drift = max(abs(a - b) for a, b in losses)
    print(f"{counts[0]:,} parameters; probabilities differ by {gap:.1e}, losses of three steps by {drift:.1e}")
    if gap > 1e-4 or drift > 1e-3:
        raise SystemExit("the two networks are not the same: nothing to compare")


def measure(contestants: dict[str, Ours | Theirs], batch: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Images a second, a list of `rounds` for each contestant. They take turns, so that drift hits all alike."""
    for contestant in contestants.values():
        contestant.run(2)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for name, contestant in itertools.chain.from_iterable([contestants.items()] * rounds):
        time.sleep(0.3)  # lets the other library's threads stop spinning
        start = time.perf_counter()
        contestant.run(steps)
        rates[name].append(batch * steps / (time.perf_counter() - start))
    return rates


def report(rates: dict[str, list[float]], batch: int) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    peaks = {name: max(values) for name, values in rates.items()}
    ours, our_peak = medians.pop("jaxdl"), peaks.pop("jaxdl")
    best = max(medians, key=lambda name: medians[name])
    print(f"\n{'':32} {'images/s':>9} {'lowest':>8} {'highest':>8} {'ms/step':>8} {'jaxdl is':>9}")
    for name, values in rates.items():
        median = statistics.median(values)
        figures = (
            f"{median:9.0f} {min(values):8.0f} {max(values):8.0f} {1000 * batch / median:8.1f} {ours / median:8.2f}x"
        )
        print(f"{name:32} {figures}")
    print(f"\njaxdl {ours:.0f} images/s, PyTorch {medians[best]:.0f} ({best}): ratio {ours / medians[best]:.2f}")
    print(
        f"ratio of the fastest rounds {our_peak / max(peaks.values()):.2f} (far from that: the machine was not quiet)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="experiments/cnn/fashion_mnist.py", help="the recipe whose network it is")
    parser.add_argument("--set", action="append", default=[], help="override, as in launch.py (channels, width, ...)")
    parser.add_argument("--image", type=int, nargs=3, default=(28, 28, 1), help="height, width and channels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    huge_pages()
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as there are cores to run on
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    os.environ["JAX_PLATFORMS"] = "cpu"
    configure()
    import fiddle as fdl
    import torch

    from jaxdl import overrides
    from jaxdl.recipes import load_recipe

    torch.set_num_threads(arguments.threads)
    config = overrides.resolve(load_recipe(arguments.config), arguments.set)
    model = fdl.build(config.task.model).clone(dropout=0.0, dtype="float32")
    draws = np.random.default_rng(0)
    batch = {
        "image": draws.integers(0, 256, (arguments.batch, *arguments.image), dtype=np.uint8),
        "label": draws.integers(0, model.num_classes, arguments.batch).astype(np.int32),
        "weight": np.ones(arguments.batch, np.float32),
        "index": np.arange(arguments.batch, dtype=np.int32),
    }
    print(f"{model.__class__.__name__} of {arguments.config}, batch {arguments.batch}, {arguments.threads} threads")
    contestants: dict[str, Ours | Theirs] = {"jaxdl": Ours(model, batch)}
    for compiled, channels_last in itertools.product((False, True), repeat=2):
        name = f"PyTorch {'compiled' if compiled else 'eager'}{', channels_last' if channels_last else ''}"
        theirs = Theirs(torch_network(model, arguments.image[2]), batch, compiled, channels_last)
        if not compiled:
            verify(Ours(model, batch), theirs)
        contestants[name] = theirs
    report(measure(contestants, arguments.batch, arguments.steps, arguments.rounds), arguments.batch)


if __name__ == "__main__":
    main()
