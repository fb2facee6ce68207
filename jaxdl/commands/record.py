"""Appends finished runs to experiments/results.csv, and updates the recipes and the README."""

from absl.flags import FlagValues

from jaxdl.commands.flags import Command
from jaxdl.config.recipes import repository_root
from jaxdl.runs import headlines, ledger

COMMAND = Command(
    name="record",
    summary="Appends finished runs to experiments/results.csv, and updates recipes and README",
    synopsis=("RUN...",),
    flags=(),
    example="jaxdl record runs/digits-*",
    needs="nothing",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    root = repository_root()
    for run in arguments:
        for row in ledger.record(run, root):
            work = "" if row.tflop is None else f", {row.tflop:.3g} TFLOP"
            chosen = "" if row.selected is None else f", step {row.selected} of {row.steps}"
            result = f"{row.metric} {row.value:g} on {row.split}{chosen}, {row.minutes:g} min{work}"
            print(f"{row.recipe}, seed {row.seed}: {result}")
    for path in headlines.update(root):
        print(f"{path.relative_to(root)} has the new result")
