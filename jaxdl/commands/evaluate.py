"""Evaluates a trained run at any step and on any split."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl.flags import FlagValues

from jaxdl.commands.flags import FORMAT, SET_OF_RUN, STEP, TRUST, Command, Flag
from jaxdl.commands.follow import follow
from jaxdl.config.experiment import Experiment
from jaxdl.data.bank import training_queries
from jaxdl.data.dataset import evaluations
from jaxdl.data.labels import align
from jaxdl.data.pipeline import eval_batches
from jaxdl.errors import UserError, nearest
from jaxdl.remote import check_writable
from jaxdl.runs.examples import write
from jaxdl.runs.restore import load_trained
from jaxdl.training.per_example import evaluate_examples
from jaxdl.training.progress import Progress

COMMAND = Command(
    name="eval",
    summary="Evaluates a trained run",
    synopsis=(
        "RUN [--step=N] [--split=NAME] [--set=NAME=VALUE] [--format=json] [--trust]",
        "RUN --follow [--split=NAME] [--set=NAME=VALUE] [--format=json] [--trust]",
        "RUN --examples [--format=json] [--trust]",
    ),
    flags=(
        STEP,
        Flag(
            "split",
            "Evaluation of the recipe, 'train', or a split of the training data such as 'train[:1000]'. By default all"
            " evaluations.",
            value="NAME",
        ),
        Flag(
            "examples",
            "Also store the metrics of every example in RUN/examples.npz, from which report computes intervals over"
            " test examples.",
            kind=bool,
            default=False,
        ),
        Flag(
            "follow",
            "Evaluate every checkpoint as it appears, until the run is finished. The metrics are stored in"
            " RUN/evaluations.jsonl, which report reads, unless --split or --set is given.",
            kind=bool,
            default=False,
        ),
        SET_OF_RUN,
        FORMAT,
        TRUST,
    ),
    example="jaxdl eval runs/digits --split='train[:1000]' --format=json",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    if flags.examples and (flags.step is not None or flags.split or flags.set):
        raise UserError("--examples stores the evaluations of the recipe; drop --step, --split and --set")
    if not flags.follow:
        run(arguments[0], flags.step, flags.split, flags.format, flags.set, flags.examples)
        return
    if flags.step is not None or flags.examples:
        raise UserError(f"--follow evaluates every checkpoint; drop {'--examples' if flags.examples else '--step'}")
    split = flags.split
    follow(arguments[0], lambda one: _datasets(one, split), flags.set, flags.format, whole=split is None)


def run(
    path: str,
    step: int | None = None,
    split: str | None = None,
    format: str = "text",
    settings: Sequence[str] = (),
    examples: bool = False,
) -> dict[str, Any]:
    """Evaluates a run and prints its metrics.

    Args:
      path: Run folder.
      step: Checkpoint. None: the one of `Experiment.select`.
      split: Name of an evaluation of the recipe, or a split of its training data such as "train[:1000]". None: all
        evaluations.
      format: "text", or "json" for one JSON object.
      settings: NAME=VALUE for paths in the run's configuration, such as `task.beam=8`.
      examples: Whether to store the metrics of every example in the run folder.

    Returns:
      {"step", "metrics": {split: {name: value}}}, and, if checkpoints that would have been used are damaged,
      "damaged_checkpoints", their steps.
    """
    if examples:
        check_writable(path, "drop --examples")
    trained = load_trained(path, step, settings)
    experiment, program = trained.experiment, trained.program
    metrics, stored, file = {}, {}, None
    for name, dataset in _datasets(experiment, split).items():
        source = align(dataset.load(), trained.record["datasets"]["train"]["names"], name)
        batches = eval_batches(source, program.eval_batch_size, experiment.data.eval_transforms, program.eval_rows)
        values = program.evaluate(trained.state, batches, source.names)
        metrics[name] = {key: float(value) for key, value in values.items() if np.ndim(value) == 0}
        if examples:
            singles = eval_batches(source, 1, experiment.data.eval_transforms)
            stored[name] = source.fingerprint, evaluate_examples(program, trained.state, singles)
    if examples:
        file = write(Path(path), stored)
    result: dict[str, Any] = {"step": int(trained.state.step), "metrics": metrics}
    if trained.bad:
        result["damaged_checkpoints"] = [number for number, _ in trained.bad]
    if format == "json":
        print(json.dumps(result))
        return result
    with Progress(experiment.steps) as progress:
        progress.results(result)
        if examples:
            progress.line(f"metrics of every example in {file}")
    return result


def _datasets(experiment: Experiment, split: str | None) -> dict[str, Any]:
    data = experiment.data
    evals = evaluations(data)
    if split is None:
        return evals
    if split in evals:
        return {split: evals[split]}
    if split == "train":
        return {split: training_queries(data)}
    if "[" in split or "+" in split:
        return {split: training_queries(data, split)}
    raise UserError(f"--split={split}: {nearest(split, [*evals, 'train'])}; or a split such as 'train[:1000]'")
