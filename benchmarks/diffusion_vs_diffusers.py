"""Training and sampling throughput of a diffusion U-Net on CPU, against diffusers.

  python -m benchmarks.diffusion_vs_diffusers [--batch=32] [--size=32] [--sampling=20] [--rounds=5]

DDPM U-Net with two levels and attention at the coarser one, float32, noise MSE, Adam, one random batch. Sampling with
DDIM: one compiled scan in jaxdl, `DDIMScheduler` in a Python loop with diffusers. PyTorch runs eagerly and under
torch.compile; the best counts. Before timing, the outputs must agree under copied weights. Rounds alternate in one
process. Needs the peer extra.
"""

import argparse
import importlib
from typing import Any

import numpy as np

from benchmarks.contest import measure, report
from benchmarks.training import prepare

CHANNELS, GROUPS = (32, 64), 8
RATE = 1e-4


class Ours:
    """jaxdl: the network, a compiled training step, and a compiled scan over DDIM steps."""

    def __init__(self, image: np.ndarray, noise: np.ndarray, sigma: np.ndarray, steps: int):
        import flax.linen as nn
        import jax
        import jax.numpy as jnp
        import optax

        from jaxdl.decoding.diffusion_samplers import ddim
        from jaxdl.models.ddpm_unet import DiffusionUNet

        self.network = DiffusionUNet(outputs=3, channels=CHANNELS, attention=(False, True), groups=GROUPS, epsilon=1e-5)
        level = np.arange(len(image), dtype=np.float32)
        params = jax.jit(lambda: self.network.init(jax.random.key(0), image, level, train=False))()
        draws = np.random.default_rng(1)
        # The output layers are initialized with zeros; random values make the comparison of outputs meaningful.
        self.params = jax.tree.map(
            lambda leaf: np.array(leaf) + draws.normal(0.0, 0.03, leaf.shape).astype(np.float32),
            nn.meta.unbox(params)["params"],
        )
        self.level, self.noisy = level, image + sigma[:, None, None, None] * noise
        optimizer = optax.adam(RATE)
        self.optimizer = optimizer.init(self.params)

        def loss(params: Any) -> Any:
            predicted = self.network.apply({"params": params}, self.noisy, level, train=True)
            return jnp.mean(jnp.square(predicted - noise))

        def step(params: Any, state: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state, value

        def sample(params: Any) -> Any:
            def denoise(image: Any, sigma: Any, guess: Any = None) -> Any:
                del guess  # not self-conditioned
                levels = jnp.full(len(image), 100.0 * jnp.log(sigma))
                scale = jnp.sqrt(1.0 + sigma**2)
                return image - sigma * self.network.apply({"params": params}, image / scale, levels, train=False)

            sigmas = jnp.append(jnp.geomspace(80.0, 0.01, steps), 0.0)
            return ddim(denoise, sigmas[0] * noise, sigmas).image

        self.forward = jax.jit(lambda params: self.network.apply({"params": params}, self.noisy, level, train=False))
        self.step, self.sample = jax.jit(step, donate_argnums=(0, 1)), jax.jit(sample)

    def train(self, steps: int) -> float:
        value = None
        for _ in range(steps):
            self.params, self.optimizer, value = self.step(self.params, self.optimizer)
        return float(value)  # type: ignore[arg-type]

    def make(self, times: int) -> float:
        for _ in range(times):
            images = self.sample(self.params).block_until_ready()
        return float(images[0, 0, 0, 0])


class Theirs:
    """diffusers: UNet2DModel and DDIMScheduler."""

    def __init__(self, ours: Ours, noise: np.ndarray, steps: int, compiled: bool):
        import torch

        from tests.peer.test_diffusion_diffusers import unet_place

        diffusers: Any = importlib.import_module("diffusers")
        self.torch, self.noise = torch, torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())
        self.network = diffusers.UNet2DModel(
            sample_size=noise.shape[1],
            in_channels=3,
            out_channels=3,
            block_out_channels=CHANNELS,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            attention_head_dim=CHANNELS[-1],
            norm_num_groups=GROUPS,
        )
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                *path, last = unet_place(name.split("."))
                node: Any = ours.params
                for part in path:
                    node = node[part]
                array = node[last if last in node else "kernel" if "kernel" in node else "scale"]
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
        self.noisy = torch.from_numpy(ours.noisy.transpose(0, 3, 1, 2).copy())
        self.level = torch.from_numpy(ours.level)
        self.optimizer = torch.optim.Adam(self.network.parameters(), RATE, foreach=True)
        self.scheduler = diffusers.DDIMScheduler()
        self.scheduler.set_timesteps(steps)
        self.called = torch.compile(self.network) if compiled else self.network

    def train(self, steps: int) -> float:
        loss = None
        self.network.train()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.torch.mean((self.called(self.noisy, self.level).sample - self.noise) ** 2)
            loss.backward()
            self.optimizer.step()
        return float(loss.detach())  # type: ignore[union-attr]

    def make(self, times: int) -> float:
        self.network.eval()
        image = self.noise
        with self.torch.no_grad():
            for _ in range(times):
                image = self.noise
                for step in self.scheduler.timesteps:
                    predicted = self.called(image, step).sample
                    image = self.scheduler.step(predicted, step, image).prev_sample
        return float(image[0, 0, 0, 0])


class Part:
    """One of the two tasks of a contestant, in the interface of `measure`."""

    def __init__(self, function: Any):
        self.run = function


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--sampling", type=int, default=20, help="DDIM steps")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    prepare()
    random = np.random.default_rng(0)
    shape = (arguments.batch, arguments.size, arguments.size, 3)
    image, noise = random.normal(size=(2, *shape)).astype(np.float32)
    ours = Ours(image, noise, np.geomspace(0.1, 10.0, arguments.batch).astype(np.float32), arguments.sampling)
    peers = {
        name: Theirs(ours, noise, arguments.sampling, compiled)
        for name, compiled in (("eager", False), ("torch.compile", True))
    }
    outputs = np.asarray(ours.forward(ours.params))
    for name, peer in peers.items():
        peer.network.eval()
        with peer.torch.no_grad():
            peer_outputs = peer.network(peer.noisy, peer.level).sample.numpy().transpose(0, 2, 3, 1)
        gap = float(np.abs(outputs - peer_outputs).max())
        print(f"{name}: largest difference of outputs {gap:.1e}, std of outputs {outputs.std():.2f}")
        if not (gap <= 1e-4 and outputs.std() > 0.01):
            raise SystemExit("the networks are not equal, so their speeds cannot be compared")
    everyone: dict[str, Any] = {"jaxdl": ours, **peers}
    for title, part, steps, count in (("DDPM U-Net step", "train", 4, 1), ("DDIM sampling", "make", 1, 1)):
        contestants = {name: Part(getattr(contestant, part)) for name, contestant in everyone.items()}
        report(title, measure(contestants, count * arguments.batch, steps, arguments.rounds), arguments.batch)


if __name__ == "__main__":
    main()
