"""FID of a diffusion run against the steps of sampling, for every sampler, as a table and one picture.

  python -m benchmarks.sampling runs/edm [--split='train[55000:57000]'] [--steps=5,10,20,50] [--output=sampling.png]

FID depends on how many images it is of: compare values of one table alone, and with its floor. Heun's method asks the
network twice a step: its steps are halved, so that a row asks as often whatever the sampler.
"""

import argparse
import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.commands import evaluate
from jaxdl.errors import UserError
from jaxdl.runs.files import write_png

SAMPLERS = ("ancestral", "euler", "heun", "dpm_solver")


def fid(run: str, split: str, sampler: str, steps: int, settings: Sequence[str] = ()) -> tuple[float, float]:
    """(FID, its floor) of one image for each of the split's."""
    chosen = [f"task.sampler={sampler}", f"task.steps={steps}", "task.bound=False", *settings]
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = evaluate.run(run, split=split, format="json", settings=chosen)["metrics"][split]
    if "fid" not in metrics:
        raise UserError(f"{run} has no FID classifier, so its evaluation samples no images; set task.fid_classifier")
    return metrics["fid"], metrics["fid_floor"]


def picture(asked: Sequence[int], found: Mapping[str, Sequence[float]], floor: float) -> np.ndarray:
    """uint8 [height, width, 3]: a line a sampler, on logarithmic axes."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    from jaxdl.viz.figure import COLORS, new_figure, plain, render

    figure = new_figure(640, 420)
    axes = figure.subplots()
    for color, (sampler, values) in zip(COLORS, found.items()):
        axes.plot(asked[: len(values)], values, marker="o", color=color, label=sampler)
    axes.axhline(floor, color="gray", linestyle=":", label="real against real")
    axes.set(xscale="log", yscale="log", xlabel="times the network is asked for an image", ylabel="FID")
    axes.set_xticks(asked, [str(count) for count in asked], minor=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()
    plain(axes)
    axes.legend(frameon=False)
    return render(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", help="a folder of a run of jaxdl.tasks.diffusion with an FID classifier")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--steps", default="5,10,20,50", help="how often the network is asked, with commas")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides of the run")
    parser.add_argument("--output", default="sampling.png")
    arguments = parser.parse_args()
    asked = sorted(int(count) for count in arguments.steps.split(","))
    found: dict[str, list[float]] = {}
    floor = float("nan")
    try:
        for sampler in SAMPLERS:
            found[sampler] = []
            for count in asked:
                start = time.perf_counter()
                steps = max(1, (count + 1) // 2) if sampler == "heun" else count
                value, floor = fid(arguments.run, arguments.split, sampler, steps, arguments.set)
                found[sampler].append(value)
                print(f"{sampler:12} {count:5} {value:9.3f}  ({time.perf_counter() - start:.0f} s)", flush=True)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print(f"real against real {floor:.3f}")
    write_png(Path(arguments.output), picture(asked, found, floor))


if __name__ == "__main__":
    main()
