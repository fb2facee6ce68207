"""Digests of every recipe's `tiny()`: detects changes of arrays or losses by a code change.

Run: python -m benchmarks.bitwise write BEFORE.json [RECIPE...]   at the commit before the change
     python -m benchmarks.bitwise write AFTER.json [RECIPE...]    at the commit after it, on the same machine
     python -m benchmarks.bitwise compare BEFORE.json AFTER.json

For each recipe: the arrays of the initial state, the losses of three steps, the arrays of the state after them, and all
evaluation metrics. Arrays are compared as multisets of SHA-256 digests, so that leaves may be renamed.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compilation takes half of the time

STEPS = 3


def measure(recipe: str) -> dict[str, Any]:
    """Returns digests, losses and metrics of one recipe."""
    import jax
    import numpy as np

    from jaxdl.config.experiment import build
    from jaxdl.config.recipes import load_recipe
    from jaxdl.data.pipeline import eval_batches
    from jaxdl.testing import tiny
    from jaxdl.testing.laws import Bench

    def digests(tree: Any) -> list[str]:
        def one(leaf: Any) -> str:
            array = np.ascontiguousarray(leaf)
            return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]

        return sorted(one(leaf) for leaf in jax.tree.leaves(jax.device_get(tree)))

    bench = Bench(build(tiny(load_recipe(recipe))))
    program = bench.program()
    start = bench.start(program)
    record: dict[str, Any] = {"init": digests((start.params, start.variables, start.carry))}
    state, losses = bench.steps(program, STEPS)
    record["losses"] = [float(loss).hex() for loss in losses.ravel()]
    parts = {"params": state.params, "variables": state.variables, "carry": state.carry, "ema": state.ema}
    record |= {name: digests(tree) for name, tree in parts.items()}
    record["opt_state"] = digests(state.opt_state)
    for name, source in bench.sources.evals.items():
        batches = eval_batches(source, program.eval_batch_size, bench.experiment.data.eval_transforms)
        metrics = program.evaluate(state, batches, source.names)
        record[f"eval {name}"] = {key: np.asarray(value, np.float64).tolist() for key, value in sorted(metrics.items())}
    return record


def write(path: str, names: list[str]) -> None:
    """Measures the recipes, by default all, and writes the file after each of them."""
    import jax

    from jaxdl.config.recipes import recipes, repository_root

    records = json.loads(Path(path).read_text()) if Path(path).exists() else {}
    for recipe in names or [recipe_file.name for recipe_file in recipes(repository_root())]:
        if recipe in records:
            continue
        begun = time.perf_counter()
        records[recipe] = measure(recipe)
        Path(path).write_text(json.dumps(records))
        print(f"{recipe}: {time.perf_counter() - begun:.1f} s", flush=True)
        jax.clear_caches()


def compare(before: str, after: str) -> int:
    """Prints the differences; returns 1 if there are any, else 0."""
    old, new = (json.loads(Path(path).read_text()) for path in (before, after))
    differences = 0
    for recipe in old:
        if recipe not in new:
            print(f"{recipe}: missing")
            differences += 1
            continue
        differing = [name for name in old[recipe] if old[recipe][name] != new[recipe].get(name)]
        if differing:
            differences += 1
            print(f"{recipe}: {', '.join(differing)}")
    print(f"{len(old) - differences} of {len(old)} recipes are bitwise equal")
    return 1 if differences else 0


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    sys.exit(compare(first, rest[0]) if command == "compare" else write(first, rest))
