"""Blocking and total time of a save, against Orbax with its default settings.

Run: python -m benchmarks.saving [RECIPE...] [--devices=8] [--rounds=10]

The state is a recipe's own on virtual CPU devices; both save it alternately. The figures of jaxdl include the SHA-256
of every array, which `Checkpoints` adds. The recipe's data must be prepared.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

RECIPES = (
    "experiments/cnn/digits.py",
    "experiments/diffusion/fashion_ddpm.py",
    "experiments/transformer/austen_gpt.py",
)


def measure(recipe: str, rounds: int) -> None:
    """Prints medians over rounds, in milliseconds, and their ratios."""
    import jax
    import orbax.checkpoint as ocp

    from jaxdl.config import resolve
    from jaxdl.config.experiment import build
    from jaxdl.training.checkpoint import CheckpointPolicy, Checkpoints, items_of
    from jaxdl.training.loop import make_program
    from jaxdl.training.sources import load_sources

    experiment = build(resolve(recipe, []))
    state = make_program(experiment, load_sources(experiment.data)).init()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(items_of(state)))
    arrays = len(jax.tree.leaves(items_of(state)))
    times: dict[str, list[tuple[float, float]]] = {"orbax": [], "jaxdl": []}
    with tempfile.TemporaryDirectory() as folder:
        registry, default_handler = ocp.type_handlers, ocp.type_handlers.get_type_handler(jax.Array)
        with Checkpoints(Path(folder) / "jaxdl", CheckpointPolicy(latest=1)) as checkpoints:
            own_handler = registry.get_type_handler(jax.Array)
            options = ocp.CheckpointManagerOptions(max_to_keep=1)
            with ocp.CheckpointManager(Path(folder) / "orbax", options=options) as manager:
                for step in range(rounds + 1):
                    stepped = state.replace(step=state.step + step)
                    registry.register_type_handler(jax.Array, default_handler, override=True)
                    begin = time.perf_counter()
                    save = {name: ocp.args.StandardSave(item) for name, item in items_of(stepped).items()}
                    manager.save(step, args=ocp.args.Composite(**save))
                    waited = time.perf_counter() - begin
                    manager.wait_until_finished()
                    times["orbax"].append((waited, time.perf_counter() - begin))
                    registry.register_type_handler(jax.Array, own_handler, override=True)
                    begin = time.perf_counter()
                    checkpoints.save(stepped, {})
                    waited = time.perf_counter() - begin
                    checkpoints.wait()
                    times["jaxdl"].append((waited, time.perf_counter() - begin))
    # The first round compiles and is dropped.
    medians = {
        library: [1e3 * statistics.median(column) for column in zip(*columns[1:])] for library, columns in times.items()
    }
    print(f"{recipe}, {arrays} arrays, {size / 2**20:.1f} MiB, {jax.device_count()} devices")
    for which, jaxdl_ms, orbax_ms in zip(("waited", "written"), medians["jaxdl"], medians["orbax"]):
        ratio = jaxdl_ms / orbax_ms
        print(f"  {which:8} jaxdl {jaxdl_ms:6.0f} ms, Orbax {orbax_ms:6.0f} ms, ratio {ratio:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    from jaxdl.runs.environment import configure

    configure(cpu_devices=arguments.devices)
    for recipe in arguments.recipes:
        measure(recipe, arguments.rounds)


if __name__ == "__main__":
    main()
