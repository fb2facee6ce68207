"""Runs with stored examples, for tests of reports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdl.report.load import FINISHED, Run
from jaxdl.report.statistics import Group
from jaxdl.runs.examples import write


def save(folder: Path, values: np.ndarray, fingerprint: str = "a") -> Path:
    """Stores the accuracy of each example of the evaluation "test" and returns the file."""
    folder.mkdir(exist_ok=True)
    columns = {"index": np.arange(len(values)), "accuracy": np.stack([values, np.ones(len(values))], axis=1)}
    return write(folder, {"test": (fingerprint, columns)})


def group(*folders: Path, results: Sequence[float], metric: str = "test/accuracy") -> Group:
    """Returns a group of finished runs with these results."""
    pairs = enumerate(zip(folders, results))
    return Group(1, tuple(Run(folder, FINISHED, seed=seed, metrics={metric: value}) for seed, (folder, value) in pairs))
