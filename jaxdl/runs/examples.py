"""Sums of the metrics of single examples in a run folder, examples.npz; `jaxdl eval --examples` writes it."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdl.errors import UserError
from jaxdl.runs.files import leads_outside, write_atomically

FILE = "examples.npz"
_INDEX, _DATA = "index", "fingerprint"


class Examples(NamedTuple):
    """Metric of the examples of an evaluation.

    Attributes:
      fingerprint: Fingerprint of the data set.
      index: Indices of the examples [n].
      sums: [n].
      weights: [n]. The metric is the total of `sums` divided by that of `weights`.
    """

    fingerprint: str
    index: np.ndarray
    sums: np.ndarray
    weights: np.ndarray

    @property
    def value(self) -> float:
        """The metric over all examples."""
        return float(self.sums.sum() / self.weights.sum())


def write(run: Path, evaluations: Mapping[str, tuple[str, Mapping[str, np.ndarray]]]) -> Path:
    """Writes {evaluation: (fingerprint of the data, arrays of `evaluate_examples`)} and returns the file's path."""
    path = run / FILE
    if leads_outside(path, run):
        raise UserError(f"{path} is a symbolic link out of the run folder; replace it by a copy")
    arrays = {
        f"{name}/{key}": array
        for name, (fingerprint, columns) in evaluations.items()
        for key, array in {_DATA: np.array(fingerprint), **columns}.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())
    return path


def read(run: Path, metric: str) -> Examples | None:
    """Returns the examples of "EVAL/NAME"; None if they are not stored.

    Raises:
      UserError: The file is damaged.
    """
    path, (split, _, _) = run / FILE, metric.partition("/")
    if not path.is_file() or leads_outside(path, run):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if metric not in file or metric.endswith((f"/{_INDEX}", f"/{_DATA}")):
                return None
            values = file[metric]
            return Examples(str(file[f"{split}/{_DATA}"]), file[f"{split}/{_INDEX}"], values[:, 0], values[:, 1])
    except (OSError, ValueError, LookupError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path} ({error}); write it again with: jaxdl eval {run} --examples") from error
