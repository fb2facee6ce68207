"""Training throughput of a DCGAN with R1 on CPU, against PyTorch.

  python -m benchmarks.gan_vs_torch [--batch=64] [--steps=6] [--rounds=5]

The networks of experiments/gan/fashion_dcgan.py, with 4x4 convolutions of stride 2 in PyTorch, non-saturating loss, R1
on real images and Adam. One step updates the discriminator, then the generator. PyTorch runs eagerly in both
memory layouts and under torch.compile. Before timing, the losses of three steps under copied weights and equal latents
must be equal. Needs the peer extra.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.training import Ours, Theirs, build_task, compare, filled, parse_sizes, prepare, random_images, variants

RATE, BETAS = 5e-4, (0.5, 0.999)
SLOPE = 0.2  # leaky ReLU
PHASES = ("discriminator", "generator")


def up_kernel(kernel: np.ndarray) -> np.ndarray:
    """Returns the weight [c, channels, 4, 4] of a transposed convolution for [2, 2, c, 4 * channels]."""
    kernel = kernel.reshape(2, 2, kernel.shape[2], 2, 2, -1)
    weight = np.empty((kernel.shape[2], kernel.shape[-1], 4, 4), np.float32)
    for a, b, i, j in itertools.product(range(2), repeat=4):
        weight[:, :, 3 - i - 2 * a, 3 - j - 2 * b] = kernel[a, b, :, i, j]
    return weight


def down_kernel(kernel: np.ndarray) -> np.ndarray:
    """Returns the weight [channels, c, 4, 4] of a convolution of stride 2 for [2, 2, 4 * c, channels]."""
    kernel = kernel.reshape(2, 2, 2, 2, -1, kernel.shape[-1])  # square, place in it
    return kernel.transpose(5, 4, 0, 2, 1, 3).reshape(kernel.shape[5], kernel.shape[4], 4, 4)


def generator_twin(model: Any, latents: int, params: Mapping[str, Any]) -> Any:
    """Returns the generator in PyTorch, [batch, latents] -> [batch, channels, height, width]."""
    from torch import nn

    inputs = model.channels[0]
    project = params["project"]["kernel"].reshape(latents, model.size, model.size, inputs).transpose(3, 1, 2, 0)
    layers: list[nn.Module] = [
        filled(nn.Linear(latents, model.size**2 * inputs, bias=False), project),
        nn.Unflatten(1, (inputs, model.size, model.size)),
    ]
    for level, channels in enumerate(model.channels):
        if level:
            up = nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False)
            layers.append(filled(up, up_kernel(params[f"up{level}"]["kernel"])))
        norm = params[f"norm{level + 1}"]
        layers += [filled(nn.BatchNorm2d(channels), norm["scale"], norm["bias"]), nn.ReLU()]
        inputs = channels
    image, last = params["image"], nn.ConvTranspose2d(inputs, model.outputs, 4, 2, 1)
    return nn.Sequential(*layers, filled(last, up_kernel(image["kernel"]), image["bias"]), nn.Tanh())


def discriminator_twin(model: Any, inputs: int, params: Mapping[str, Any]) -> Any:
    """Returns the discriminator in PyTorch, [batch, channels, height, width] -> logits [batch]."""
    from torch import nn

    layers: list[nn.Module] = []
    for level, channels in enumerate(model.channels, 1):
        conv = params[f"conv{level}"]
        layers.append(filled(nn.Conv2d(inputs, channels, 4, 2, 1), down_kernel(conv["kernel"]), conv["bias"]))
        layers.append(nn.LeakyReLU(SLOPE))
        inputs = channels
    head = params["head"]["kernel"]
    side = math.isqrt(len(head) // inputs)
    weight = head.reshape(side, side, inputs).transpose(2, 0, 1)
    linear = filled(nn.Linear(len(head), 1), weight, params["head"]["bias"])
    return nn.Sequential(*layers, nn.Flatten(), linear, nn.Flatten(0))


class Peer(Theirs):
    """PyTorch: eager or compiled, contiguous or channels_last.

    Attributes:
      draw: `(phase) -> latents [batch, latents]`. None: standard normal.
    """

    def __init__(self, task: Any, params: Mapping[str, Any], image: np.ndarray, compiled: bool, channels_last: bool):
        import torch

        layout = torch.channels_last if channels_last else torch.contiguous_format
        networks = {
            "discriminator": discriminator_twin(task.discriminator, image.shape[-1], params["discriminator"]),
            "generator": generator_twin(task.generator, task.latents, params["generator"]),
        }
        self.image = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)
        self.penalty_weight, self.shape = task.penalty_weight, (len(image), task.latents)
        self.draw: Callable[[str], Any] | None = None
        losses = {"discriminator": self._discriminator_loss, "generator": self._generator_loss}
        phases = []
        for name, network in networks.items():
            network.to(memory_format=layout)
            loss = torch.compile(losses[name]) if compiled else losses[name]
            optimizer = torch.optim.Adam(network.parameters(), RATE, BETAS, foreach=True)
            phases.append((name, functools.partial(self._drawn, name, loss), optimizer))
        super().__init__(networks, phases)

    def _drawn(self, phase: str, loss: Callable[..., Any]) -> Any:
        import torch

        return loss(torch.randn(self.shape) if self.draw is None else self.draw(phase))

    def _discriminator_loss(self, latent: Any) -> Any:
        import torch
        from torch.nn.functional import softplus

        discriminate, real = self.networks["discriminator"], self.image.float() / 127.5 - 1
        with torch.no_grad():
            generated = self.networks["generator"](latent)

        def total(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = discriminate(image)
            return logits.sum(), logits

        # torch.func: torch.compile does not support torch.autograd.grad with create_graph=True.
        gradient, logits = torch.func.grad(total, has_aux=True)(real)
        penalty = 0.5 * gradient.square().sum((1, 2, 3))
        return (softplus(-logits) + softplus(discriminate(generated)) + self.penalty_weight * penalty).mean()

    def _generator_loss(self, latent: Any) -> Any:
        from torch.nn.functional import softplus

        return softplus(-self.networks["discriminator"](self.networks["generator"](latent))).mean()


class Latents:
    """Latents that jaxdl draws, step by step."""

    def __init__(self, ours: Ours, latents: int):
        import jax

        from jaxdl.tasks.parts.draws import standard_normal
        from jaxdl.training.task import example_keys

        def draw(step: Any, phase: Any) -> Any:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), step), phase)
            return standard_normal(example_keys(jax.random.fold_in(key, 0), ours.batch), (latents,))

        self.draw, self.drawn = jax.jit(draw), 0

    def __call__(self, phase: str) -> Any:
        import torch

        step, self.drawn = self.drawn // len(PHASES), self.drawn + 1
        return torch.from_numpy(np.array(self.draw(step, PHASES.index(phase))))


def main() -> None:
    sizes = parse_sizes(__doc__, batch=64, steps=6)
    prepare()
    import jax
    import optax

    task, batch = build_task("experiments/gan/fashion_dcgan.py"), random_images(sizes.batch)
    ours = Ours(task, {name: optax.adam(RATE, *BETAS) for name in PHASES}, batch)
    params = jax.tree.map(np.array, ours.state.params)
    peers = {name: Peer(task, params, batch["image"], *variant) for name, variant in variants().items()}
    for peer in peers.values():
        peer.draw = Latents(ours, task.latents)
    compare("DCGAN step", ours, peers, sizes)


if __name__ == "__main__":
    main()
