"""CPU training throughput of a recipe's network, against the same network in PyTorch.

  python -m benchmarks.vs_torch --config=experiments/cnn/scenes_segmentation.py [--set=NAME=VALUE] [--batch=16]

Supports classifiers (ConvNet, ResNet, ViT), U-Nets and detectors. Both train on the same batch of uint8 images, the
recipe's first or random, in float32 without dropout, with the recipe's loss and Nesterov SGD. PyTorch runs eagerly in
both memory layouts and under torch.compile; the best counts. Before timing, parameter counts, outputs under copied
weights and losses of three steps must be equal. Rounds alternate in one process, with the malloc settings of
launch.py. On a loaded machine PyTorch's threads wait for each other, and the ratio is biased towards jaxdl: --cpu_time
compares the CPU time of a single thread there, which does not measure multi-threading. Needs the peer extra.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import training
from benchmarks.contest import measure, report
from benchmarks.training import prepare, random_images, variants, verify_losses
from jaxdl.config import resolve

RATE, MOMENTUM = 0.01, 0.9  # small: amplified rounding errors of early steps would mask differences


def twin(task: Any, shape: Sequence[int]) -> tuple[Any, Callable[..., Any]]:
    """Returns the PyTorch network and its loss `(outputs, batch) -> scalar`.

    The network's modules have the names of the jaxdl modules. It takes normalized images [batch, channels, height,
    width] and outputs the same values, with channels before height and width.

    Args:
      task: jaxdl task.
      shape: Image shape, (height, width, channels).
    """
    from benchmarks import torch_cnn, torch_detector, torch_unet
    from jaxdl.tasks.image_classification import ImageClassification
    from jaxdl.tasks.object_detection import ObjectDetection
    from jaxdl.tasks.semantic_segmentation import SemanticSegmentation

    twins = {
        ImageClassification: torch_cnn.classifier,
        SemanticSegmentation: torch_unet.segmenter,
        ObjectDetection: torch_detector.detector,
    }
    if type(task) not in twins:
        names = ", ".join(kind.__name__ for kind in twins)
        raise SystemExit(f"{type(task).__name__} does not have a PyTorch twin; use {names}")
    return twins[type(task)](task, shape)


def copy_weights(params: Any, network: Any) -> None:
    """Copies jaxdl parameters into the twin, with kernels transposed to PyTorch's order."""
    import jax
    import torch

    names = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    keywords = {"in": "into"}  # torch.compile does not accept Python's keywords as names of modules
    twin_parameters = dict(network.named_parameters())
    with torch.no_grad():
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            *modules, last = (keywords.get(key.key, key.key) for key in path)
            array = np.array(leaf)
            if isinstance(network.get_submodule(".".join(modules)), torch.nn.ConvTranspose2d):
                array = array.transpose(2, 3, 0, 1)  # PyTorch stores these as [in, out, row, column]
            elif last == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            parameter = twin_parameters.pop(".".join([*modules, names[last] if modules else last]))
            parameter.copy_(torch.from_numpy(array).reshape(parameter.shape))
    if twin_parameters:
        raise SystemExit(f"the twin has additional parameters: {', '.join(twin_parameters)}")


class Ours(training.Ours):
    """jaxdl: the compiled train step."""

    def __init__(self, task: Any, batch: Mapping[str, np.ndarray]):
        import jax
        import optax

        super().__init__(task, {"train": optax.sgd(RATE, momentum=MOMENTUM, nesterov=True)}, batch)
        self.state = self.state.replace(params=_stir(self.state.params))
        self.group = task.phases[0].trains

        def forward(params: Any, collections: Any) -> Any:
            image = task.normalize(self.batch["image"])
            return task.model.apply({"params": params, **collections}, image, train=False)

        self.forward = jax.jit(forward)

    @property
    def params(self) -> Any:
        return self.state.params[self.group]

    def outputs(self) -> Any:
        return self.forward(self.params, self.state.variables.get(self.group, {}))


def _stir(params: Any) -> Any:
    """Perturbs scales, biases and zeros: a zero initialization would mask errors before it."""
    import jax

    draws = np.random.default_rng(0)

    def move(leaf: Any) -> Any:
        stirred = leaf.ndim == 1 or not leaf.any()
        return leaf + draws.normal(0.0, 0.1, leaf.shape).astype(np.float32) if stirred else leaf

    return jax.tree.map(move, params)


class Theirs(training.Theirs):
    """PyTorch: eager or compiled, contiguous or channels_last."""

    def __init__(self, task: Any, batch: Mapping[str, np.ndarray], compiled: bool, channels_last: bool):
        import torch

        network, self.criterion = twin(task, batch["image"].shape[1:])
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=layout)
        normalize = task.normalize
        self.mean, self.std = (torch.tensor(value).reshape(-1, 1, 1) for value in (normalize.mean, normalize.std))
        self.batch = {name: torch.from_numpy(array) for name, array in batch.items() if name != "image"}
        image = torch.from_numpy(batch["image"].transpose(0, 3, 1, 2).copy())
        self.batch["image"] = image.contiguous(memory_format=layout)
        optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, nesterov=True, foreach=True)
        super().__init__({"train": network}, [("train", self._loss, optimizer)], compiled)

    def _outputs(self) -> Any:
        return self.network((self.batch["image"].float() / 255 - self.mean) / self.std)

    def _loss(self) -> Any:
        return self.criterion(self._outputs(), self.batch)

    def outputs(self) -> Any:
        import torch

        self.network.eval()
        with torch.no_grad():
            outputs = self._outputs()
        self.network.train()
        return outputs


def verify(ours: Ours, peers: Mapping[str, Theirs]) -> None:
    """Checks parameter counts, outputs and losses over three steps; exits on a difference."""
    import jax

    count = sum(leaf.size for leaf in jax.tree.leaves(ours.params))
    outputs = jax.tree.leaves(ours.outputs())
    print(f"{count:,} parameters")
    for name, peer in peers.items():
        peer_count = sum(tensor.numel() for tensor in peer.network.parameters())
        if count != peer_count:
            raise SystemExit(f"jaxdl has {count} parameters, PyTorch {peer_count}")
        copy_weights(ours.params, peer.network)
        leaves = jax.tree.leaves(peer.outputs())
        gap = max(_gap(np.asarray(a), b.numpy()) for a, b in zip(outputs, leaves, strict=True))
        print(f"{name}: largest difference of outputs {gap:.1e}")
        if not gap <= 1e-4:  # also fails for NaN
            raise SystemExit("the networks are not equal, so their speeds cannot be compared")
    verify_losses({"jaxdl": ours, **peers})


def _gap(expected: np.ndarray, actual: np.ndarray) -> float:
    """Computes the largest difference, relative above 1 (a detector's distances are in pixels)."""
    actual = actual.transpose(0, 2, 3, 1) if expected.ndim == 4 else actual
    if expected.shape != actual.shape:
        raise SystemExit(f"an output has shape {expected.shape} in jaxdl, {actual.shape} in PyTorch")
    return float((np.abs(expected - actual) / np.maximum(np.abs(expected), 1)).max())


def make_batch(config: Any, image: Sequence[int] | None) -> dict[str, np.ndarray]:
    """Returns the recipe's first training batch, or random images and labels."""
    import fiddle as fdl

    from jaxdl.data.dataset import Data
    from jaxdl.data.pipeline import Batches
    from jaxdl.tasks.image_classification import ImageClassification

    config.data.mix = None
    data: Data = fdl.build(config.data)
    if image is None:
        return Batches(data.train.load(), data, seed=0).at(0)
    if fdl.get_callable(config.task) is not ImageClassification:
        raise SystemExit("--image gives random images with a label, for classifiers; leave it out to use the recipe's")
    return random_images(data.batch_size, image, config.task.model.num_classes)


def comparable(config: Any) -> Any:
    """Returns the task whose model and submodules are without dropout and in float32."""
    import fiddle as fdl
    from fiddle import daglish

    from jaxdl.config.settings import argument_names

    for part, _ in daglish.iterate(config.task.model):
        for name, value in {"dropout": 0.0, "dtype": "float32"}.items():
            if isinstance(part, fdl.Buildable) and name in argument_names(part):
                setattr(part, name, value)
    return fdl.build(config.task)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="experiments/cnn/fashion_mnist.py", help="recipe of the network")
    parser.add_argument(
        "--set", action="append", default=[], help="override, as in launch.py: task.model.channels=(8, 16)"
    )
    parser.add_argument(
        "--image", type=int, nargs=3, help="height, width and channels of random images, for a classifier"
    )
    parser.add_argument("--batch", type=int, help="images per step; default: the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="steps per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--cpu_time", action="store_true", help="compare the CPU time of one thread, for a loaded machine"
    )
    arguments = parser.parse_args(argv)
    if arguments.cpu_time:  # with more threads, spinning threads would count as busy
        arguments.threads = 1
    prepare(arguments.threads)
    config = resolve(arguments.config, arguments.set)
    config.data.batch_size = arguments.batch or config.data.batch_size
    batch = make_batch(config, arguments.image)
    task = comparable(config)
    size = len(batch["image"])
    print(
        f"{type(task.model).__name__} of {arguments.config}, images {batch['image'].shape[1:]}, batch {size}, "
        f"{arguments.threads} threads{', CPU time' if arguments.cpu_time else ''}"
    )
    peers = {name: Theirs(task, batch, *variant) for name, variant in variants().items()}
    ours = Ours(task, batch)
    verify(ours, peers)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    rates = measure({"jaxdl": ours, **peers}, size, arguments.steps, arguments.rounds, clock)
    report(f"{type(task.model).__name__} step", rates, size)


if __name__ == "__main__":
    main()
