"""Coordinate check of muP (arXiv:2203.03466, section D.1): how activations change with the width.

  python -m benchmarks.coordinate_check [--widths=32,64,128,256,512] [--steps=3] [--seeds=3] [--output=FILE.png]

Trains a GPT by Adam for some steps on one batch, in the standard parametrization and in muP. Prints the slope of the
logarithm of the mean absolute change of each layer's output against the logarithm of the width, which is near 0 in muP.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.models.gpt import Decoder
from jaxdl.models.layers.attention import MultiHeadAttention
from jaxdl.models.transformer import SCALES, FeedForward, Stack
from jaxdl.training.optimizers import adam, mup_scales

BASE, LAYERS, VOCABULARY = 32, 2, 64


def decoder(width: int, scale: str) -> Decoder:
    """Returns a GPT with heads of 8 features, which equals the standard one at the width `BASE`."""
    stack = Stack(width, LAYERS, width // 8, causal=True, use_bias=False, norm="rms", scale=scale, base=BASE)
    return Decoder(VOCABULARY, 32, stack)


def changes(width: int, scale: str, seeds: int, steps: int = 3, learning_rate: float = 1e-2) -> dict[str, float]:
    """Returns the mean absolute change of each layer's output by training, {layer: mean over seeds}."""
    model = decoder(width, scale)
    scales = mup_scales(width, BASE) if scale == "mup" else None
    optimizer = adam(learning_rate, steps, schedule="constant", scales=scales)

    def change(key: jax.Array) -> dict[str, jax.Array]:
        tokens = jax.random.randint(key, (8, 17), 0, VOCABULARY)
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        params = nn.unbox(model.init(key, inputs, train=False))["params"]

        def loss(params: Any) -> jax.Array:
            logits, _ = model.apply({"params": params}, inputs, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        (trained, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, steps)
        before, after = (outputs(model, params, inputs) for params in (params, trained))
        return {name: jnp.abs(after[name] - before[name]).mean() for name in before}

    program = jax.jit(change)
    rows = [program(jax.random.key(seed)) for seed in range(seeds)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def outputs(model: Decoder, params: Any, tokens: jax.Array) -> dict[str, jax.Array]:
    """Returns the outputs of attention, feed-forward networks and the model, {layer: array}."""

    def chosen(module: nn.Module, name: str) -> bool:
        return name == "__call__" and isinstance(module, MultiHeadAttention | FeedForward)

    (logits, _), state = model.apply({"params": params}, tokens, train=False, capture_intermediates=chosen)
    found = {"logits": logits}
    for path, layer in jax.tree_util.tree_leaves_with_path(state["intermediates"]):
        names = [str(entry.key) for entry in path if hasattr(entry, "key")]
        found["/".join(names[1:-1])] = layer  # without the stack and the method
    return found


def slopes(widths: Sequence[int], scale: str, seeds: int = 3, **options: Any) -> dict[str, float]:
    """Returns the slope of log change against log width of each layer, changes averaged over seeds."""
    return {name: _slope(widths, values) for name, values in measured(widths, scale, seeds, **options).items()}


def measured(widths: Sequence[int], scale: str, seeds: int = 3, **options: Any) -> dict[str, np.ndarray]:
    """Returns the change of each layer by width, float [widths], averaged over seeds."""
    rows = [changes(width, scale, seeds, **options) for width in widths]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _slope(widths: Sequence[int], values: np.ndarray) -> float:
    return float(np.polyfit(np.log(widths), np.log(values), 1)[0])


def picture(widths: Sequence[int], results: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Writes a panel for each parametrization."""
    from PIL import Image

    from jaxdl.viz.figure import COLORS, new_figure, plain, render

    figure = new_figure(900, 380)
    shared = None
    for place, (scale, layers) in enumerate(results.items(), 1):
        axes = shared = figure.add_subplot(1, len(results), place, sharey=shared)
        for color, (name, values) in zip(COLORS, layers.items()):
            axes.loglog(widths, values, marker="o", color=color, label=f"{name}: {_slope(widths, values):+.2f}")
        axes.set_title({"standard": "Standard parametrization", "mup": "muP"}[scale], fontsize=11)
        axes.set_xticks(widths, [str(width) for width in widths], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("Width")
        axes.legend(title="Slope", fontsize=8, title_fontsize=8, frameon=False)
        plain(axes)
    figure.axes[0].set_ylabel("Mean absolute change of outputs")
    Image.fromarray(render(figure)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="32,64,128,256,512")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    widths = [int(width) for width in options.widths.split(",")]
    results = {scale: measured(widths, scale, options.seeds, steps=options.steps) for scale in SCALES}
    for name in results["mup"]:
        print(name, *(f"{scale} {_slope(widths, results[scale][name]):+.3f}" for scale in SCALES), sep="  ")
    if options.output:
        picture(widths, results, options.output)


if __name__ == "__main__":
    main()
