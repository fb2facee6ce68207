"""One of several processes that train some recipes' `tiny()`: see test_processes.py.

Arguments: number of processes, index of this one, coordinator port, devices per process, recipes. A recipe with the
prefix "same-rows:" is mutated: every process uses the rows of the first one. Process 0 prints one JSON object per
recipe.
"""

import json
import sys
from pathlib import Path

import jax

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
SAME_ROWS = "same-rows:"
MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def measured(recipe: str, steps: int = 3) -> dict:
    """Returns the first losses of a recipe and its evaluations, on all devices of all processes."""
    import dataclasses

    from jaxdl.config.experiment import build
    from jaxdl.config.recipes import load_recipe
    from jaxdl.data.pipeline import eval_batches
    from jaxdl.distributed.mesh import Parallel
    from jaxdl.testing import tiny
    from jaxdl.testing.laws import without_dropout
    from jaxdl.training.loop import make_program
    from jaxdl.training.sources import load_sources, training_batches

    experiment = build(without_dropout(tiny(load_recipe(recipe))))
    experiment = dataclasses.replace(experiment, parallel=Parallel(mesh=MESH))
    sources = load_sources(experiment.data)
    program = make_program(experiment, sources)
    state, losses = program.init(), []
    batches = training_batches(sources.train, experiment, rows=program.rows)
    for step in range(steps):
        state, report = program.step(state, program.place(batches.at(step)))
        losses += [float(figures["loss"]) for figures in jax.device_get(report).figures.values()]
    evaluations = {}
    for name, source in sources.evals.items():
        parts = eval_batches(source, program.eval_batch_size, experiment.data.eval_transforms, rows=program.eval_rows)
        values = program.evaluate(state, parts, source.names)
        evaluations |= {f"{name}/{key}": float(value) for key, value in values.items() if not hasattr(value, "shape")}
    return {"losses": losses, "evaluations": evaluations}


if __name__ == "__main__":
    count, number, port, devices = map(int, sys.argv[1:5])
    import conftest  # noqa: F401  the compiler options of the other tests

    jax.config.update("jax_num_cpu_devices", devices)
    from jaxdl.distributed.processes import Place, initialize

    initialize(Place(count, number, f"127.0.0.1:{port}"))
    from jaxdl.distributed import mesh

    process_rows = mesh.process_rows
    for name in sys.argv[5:]:
        broken = name.startswith(SAME_ROWS)
        mesh.process_rows = (lambda _, size: slice(0, size // count)) if broken else process_rows
        measurements = measured(name.removeprefix(SAME_ROWS))
        if number == 0:
            print("MEASURED", json.dumps({name: measurements}), flush=True)
