"""One training step of an accelerator recipe at full size on synthetic data.

  python -m benchmarks.full_size experiments/diffusion/imagenet_dit_xl2.py --shape=32,32,3 [--batch_size=1]

Prints the number of parameters, the loss, the seconds of compilation and of a second step, and the peak memory of the
process. Only the batch is smaller than the recipe's. Mixup and reader processes are disabled.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax

from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.config.synthetic import with_synthetic_data
from jaxdl.errors import UserError
from jaxdl.training.loop import make_program
from jaxdl.training.sources import load_sources, training_batches


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--shape", default="256,256,3", help="image height, width, channels")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides of the recipe")
    options = parser.parse_args(arguments)
    try:
        shape: Any = tuple(int(side) for side in options.shape.split(","))
        config = resolve(options.recipe, options.set)
        config = with_synthetic_data(config, shape, max(8, options.batch_size))
        config.data.batch_size, config.accumulate = options.batch_size, 1
        experiment = build(config)
        sources = load_sources(experiment.data)
        program = make_program(experiment, sources, jax.devices()[:1])
        state = program.init()
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        print(f"{options.recipe}: {count:,} parameters, a batch of {options.batch_size}", flush=True)
        batches = training_batches(sources.train, experiment, rows=program.rows)
        for step in range(2):
            start = time.perf_counter()
            state, report = program.step(state, program.place(batches.at(step)))
            losses = {name: float(figures["loss"]) for name, figures in jax.device_get(report).figures.items()}
            print(f"step {step + 1}: loss {losses}, {time.perf_counter() - start:.1f} s", flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    # ru_maxrss is in KiB on Linux.
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
