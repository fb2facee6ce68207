"""Training throughput of a VAE on CPU, against PyTorch.

  python -m benchmarks.vae_vs_torch [--batch=128] [--steps=40] [--rounds=5]

The network of experiments/autoencoder/fashion_vae.py on dynamically binarized images, with Adam. PyTorch runs eagerly
and under torch.compile. Before timing, the losses of three steps under copied weights, equal binarized images and equal
noise must be equal. Needs the peer extra.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.training import Ours, Theirs, build_task, compare, filled, parse_sizes, prepare, random_images

RATE = 1e-3


def dense_layers(params: Mapping[str, Any]) -> list[Any]:
    """Returns the layers of a `DenseEncoder` or `DenseDecoder` in PyTorch, with ReLU in between."""
    from torch import nn

    layers: list[nn.Module] = []
    for layer in params.values():
        kernel = layer["kernel"]
        layers += [filled(nn.Linear(*kernel.shape), kernel.T, layer["bias"]), nn.ReLU()]
    return layers


class Peer(Theirs):
    """PyTorch, eager or compiled.

    Attributes:
      draw: `() -> (uniform [batch, pixels], noise [batch, latents])`. None: new draws.
    """

    def __init__(self, params: Mapping[str, Any], image: np.ndarray, warmup: int, compiled: bool):
        import torch
        from torch import nn

        self.image = torch.from_numpy(image.reshape(len(image), -1))
        self.encoder = nn.Sequential(*dense_layers({**params["encoder"], "posterior": params["posterior"]})[:-1])
        self.decoder = nn.Sequential(*dense_layers(params["decoder"])[:-1])
        networks = nn.ModuleList([self.encoder, self.decoder])
        self.draw: Callable[[], tuple[Any, Any]] | None = None
        self.latents, self.warmup, self.steps = len(params["posterior"]["bias"]) // 2, warmup, 0
        self.bound = torch.compile(self._bound) if compiled else self._bound
        optimizer = torch.optim.Adam(networks.parameters(), RATE, foreach=True)
        super().__init__({"train": networks}, [("train", self._loss, optimizer)])

    def _loss(self) -> Any:
        import torch

        self.steps += 1
        draws = (torch.rand(self.image.shape), torch.randn(len(self.image), self.latents))
        uniform, noise = draws if self.draw is None else self.draw()
        return self.bound(uniform, noise, torch.tensor(min(1.0, self.steps / self.warmup)))

    def _bound(self, uniform: Any, noise: Any, beta: Any) -> Any:
        from torch.nn.functional import binary_cross_entropy_with_logits

        observed = (uniform < self.image.float() / 255).float()
        mean, log_variance = self.encoder(2 * observed - 1).chunk(2, -1)
        logits = self.decoder(mean + (0.5 * log_variance).exp() * noise)
        reconstruction = binary_cross_entropy_with_logits(logits, observed, reduction="sum")
        kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
        return (reconstruction + beta * kl) / len(observed)


class Draws:
    """Uniform and normal draws of jaxdl, step by step."""

    def __init__(self, ours: Ours, image: np.ndarray, latents: int):
        import jax

        from jaxdl.tasks.parts.draws import fold_keys, standard_normal
        from jaxdl.training.task import example_keys

        def draw(step: Any) -> Any:
            phase = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), step), 0)
            keys = example_keys(phase, ours.batch)
            uniform = jax.vmap(lambda key: jax.random.uniform(key, image.shape[1:]))(fold_keys(keys, 0))
            return uniform.reshape(len(image), -1), standard_normal(fold_keys(fold_keys(keys, 1), 0), (latents,))

        self.draw, self.step = jax.jit(draw), -1

    def __call__(self) -> tuple[Any, Any]:
        import torch

        self.step += 1
        uniform, noise = (torch.from_numpy(np.array(draws)) for draws in self.draw(self.step))
        return uniform, noise


def main() -> None:
    sizes = parse_sizes(__doc__, batch=128, steps=40)
    prepare()
    import jax
    import optax

    task, batch = build_task("experiments/autoencoder/fashion_vae.py"), random_images(sizes.batch)
    ours = Ours(task, {"train": optax.adam(RATE)}, batch)
    params = jax.tree.map(np.array, ours.state.params["autoencoder"])
    names = {"PyTorch eager": False, "PyTorch compiled": True}
    peers = {name: Peer(params, batch["image"], task.warmup, compiled) for name, compiled in names.items()}
    for peer in peers.values():
        peer.draw = Draws(ours, batch["image"], task.model.latents)
    compare("VAE step", ours, peers, sizes)


if __name__ == "__main__":
    main()
