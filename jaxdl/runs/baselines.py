"""Trivial baselines of recorded results, in `experiments/baselines.csv`.

`python -m benchmarks.trivial_baselines` computes them from the data sets.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jaxdl.errors import UserError
from jaxdl.runs.ledger import figure


class Baseline(NamedTuple):
    """Unit of a recipe's metric, and the score of a trivial predictor.

    Attributes:
      recipe: File of the recipe, relative to the repository's root.
      metric: "EVAL/NAME" of the recipe's headline result.
      unit: Unit of the metric; "" if its name states it.
      value: Score of the predictor; None if it is not known.
      predictor: Description of the predictor.
    """

    recipe: str
    metric: str
    unit: str
    value: float | None
    predictor: str

    def __str__(self) -> str:
        return "-" if self.value is None else f"{figure(self.value)} ({self.predictor})"


def baselines_path(root: Path) -> Path:
    return root / "experiments" / "baselines.csv"


def read_baselines(root: Path) -> dict[str, Baseline]:
    """Reads baselines.csv by recipe, {} if it does not exist. Raises UserError for a line that is not a baseline."""
    path, baselines = baselines_path(root), {}
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        for number, line in enumerate(csv.reader(file), start=1):
            if number == 1:
                continue
            try:
                recipe, metric, unit, value, predictor = line
                baselines[recipe] = Baseline(recipe, metric, unit, float(value) if value else None, predictor)
            except ValueError as error:
                raise UserError(f"{path}:{number} is not a baseline ({error}); compute it again") from error
    return baselines


def write_baselines(root: Path, baselines: Iterable[Baseline]) -> None:
    """Writes baselines.csv, sorted by recipe."""
    with baselines_path(root).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Baseline._fields)
        for baseline in sorted(baselines):
            writer.writerow(["" if value is None else value for value in baseline])
