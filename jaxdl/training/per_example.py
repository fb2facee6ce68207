"""Metrics of single examples, from which intervals over test examples are computed."""

from collections.abc import Iterable

import jax
import numpy as np

from jaxdl.data.source import Batch
from jaxdl.distributed import mesh as meshes
from jaxdl.training.compiled import Program
from jaxdl.training.state import TrainState
from jaxdl.training.step import make_eval_step


def evaluate_examples(program: Program, state: TrainState, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Evaluates examples one by one; evaluations do not depend on the batch size.

    Args:
      program: Program of the run.
      state: Train state.
      batches: Evaluation batches of one example.

    Returns:
      {"index": [n] indices of the examples, metric: [n, 2] sums and weights}. A metric over all examples is the ratio
      of the total sum and weight. Corpus metrics (`Task.score`) have no sums and are missing.
    """
    eval_step, members = make_eval_step(program.task), program.experiment.ensemble
    size = meshes.batch_shards(program.mesh)

    def metrics(params, variables, batch, seed):
        evaluation = eval_step(params, variables, batch, seed if members is None else seed[0])
        return {name: pair for name, pair in evaluation.metrics.items() if pair[0].shape == pair[1].shape == ()}

    compiled = jax.jit(metrics, out_shardings=meshes.replicated(program.mesh))
    indices, rows = [], []
    with meshes.active(program.mesh, program.experiment.parallel):
        for batch in batches:
            indices.append(int(batch["index"][0]))
            placed = meshes.place_batch(program.mesh, "jit", _padded(batch, size))
            rows.append(compiled(*state.evaluated, placed, state.seed))
    values = jax.device_get(rows)
    columns = {name: np.array([row[name] for row in values], np.float64) for name in (values[0] if values else {})}
    return {"index": np.array(indices, np.int64), **columns}


def _padded(batch: Batch, size: int) -> Batch:
    """Returns a batch of one example with rows of weight 0, one row per device in total."""
    rows = {name: np.repeat(value, size, axis=0) for name, value in batch.items()}
    rows["weight"][1:] = 0
    rows["index"][1:] = -1
    return rows
