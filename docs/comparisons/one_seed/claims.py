"""What single seeds would have claimed: `python docs/comparisons/one_seed/claims.py RUNS [--lower]`.

Reads the finished runs of a sweep over optimizers and seeds below RUNS, and prints a Markdown table: mean and standard
deviation of the recipe's METRIC, and in how many seeds each optimizer is the best, alone
or with others.
"""

import argparse
import statistics
from collections import defaultdict

from jaxdl.config.recipes import load_recipe
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.places import find_runs


def results(folder: str) -> dict[str, dict[int, float]]:
    """Returns {optimizer: {seed: METRIC on test}}."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for path in find_runs(folder):
        run = RunFolder.open(path)
        settings = {setting.path: setting.value for setting in run.settings()}
        split, _, metric = load_recipe(run.manifest()["recipe"]).module.METRIC.partition("/")
        result = run.result()
        if result is None:
            raise SystemExit(f"{path} is not finished")
        found[settings["optimizers.train.name"]][int(settings["seed"])] = result["metrics"][split][metric]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("--lower", action="store_true", help="lower values of the metric are better")
    flags = parser.parse_args()
    found = results(flags.runs)
    seeds = sorted(set.intersection(*(set(values) for values in found.values())))
    best = {seed: (min if flags.lower else max)(values[seed] for values in found.values()) for seed in seeds}
    print("| optimizer | mean | standard deviation | best in seeds |\n|---|---|---|---|")
    for name in sorted(found, key=lambda name: statistics.fmean(found[name].values()), reverse=not flags.lower):
        values = [found[name][seed] for seed in seeds]
        wins = sum(found[name][seed] == best[seed] for seed in seeds)
        print(f"| {name} | {statistics.fmean(values):.4g} | {statistics.stdev(values):.2g} | {wins} |")


if __name__ == "__main__":
    main()
