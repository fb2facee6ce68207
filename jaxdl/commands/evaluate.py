"""`launch.py eval`: a trained run's metrics at any step, on any split."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import with_split
from jaxdl.data.pipeline import eval_batches
from jaxdl.errors import UserError, nearest
from jaxdl.runs.restore import load_trained
from jaxdl.training.progress import Progress


def run(
    path: str,
    step: int | None = None,
    split: str | None = None,
    format: str = "text",
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores a run and prints its metrics.

    Args:
      path: the run folder.
      step: the checkpoint; None for the newest.
      split: the name of one of the recipe's evaluations, or a split of the same data set such as "train[:1000]"; None
        for all evaluations.
      format: "text", or "json" for one JSON object.
      settings: NAME=VALUE for paths in the run's configuration, such as `task.beam=8`.

    Returns:
      {"step", "metrics": {split: {name: value}}}.
    """
    trained = load_trained(path, step, settings)
    experiment, program = trained.experiment, trained.program
    metrics = {}
    for name, dataset in _chosen(experiment, split).items():
        source = dataset.load()
        batches = eval_batches(source, program.eval_batch_size, experiment.data.eval_transforms, program.eval_rows)
        values = program.evaluate(trained.state, batches, source.names)
        metrics[name] = {key: float(value) for key, value in values.items() if np.ndim(value) == 0}
    scored = {"step": int(trained.state.step), "metrics": metrics}
    if format == "json":
        print(json.dumps(scored))
        return scored
    with Progress(experiment.steps) as progress:
        for number, reason in trained.bad:
            progress.line(f"checkpoint of step {number} is damaged ({reason}); step {scored['step']} is used")
        progress.results(scored)
    return scored


def _chosen(experiment: Experiment, split: str | None) -> dict[str, Any]:
    data = experiment.data
    evals = {**data.evals, **({"test": data.test} if data.test is not None else {})}
    if split is None:
        return evals
    if split in evals:
        return {split: evals[split]}
    if split == "train":
        return {split: data.train}
    if "[" in split or "+" in split:
        return {split: with_split(data.train, split)}
    raise UserError(f"--split={split}: {nearest(split, [*evals, 'train'])}; or a split such as 'train[:1000]'")
