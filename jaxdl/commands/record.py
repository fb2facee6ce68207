"""Appends finished runs to experiments/results.csv."""

from absl.flags import FlagValues

from jaxdl.commands.flags import Command
from jaxdl.config.recipes import repository_root
from jaxdl.runs import ledger

COMMAND = Command(
    name="record",
    summary="Appends finished runs to experiments/results.csv",
    synopsis=("RUN...",),
    flags=(),
    example="jaxdl record runs/digits-*",
    needs="nothing",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    for run in arguments:
        for row in ledger.record(run, repository_root()):
            print(f"{row.recipe}, seed {row.seed}: {row.metric} {row.value:g} on {row.split}, {row.minutes:g} min")
