"""FID of a diffusion run over the number of network evaluations, as a table and a plot.

  python -m benchmarks.sampling runs/edm [--split='train[55000:57000]'] [--steps=5,10,20,50] [--output=sampling.png]

FID depends on the number of images: compare values within one table only, and with its floor. Heun's method evaluates
the network twice per step, so its steps are halved: all samplers of a row use the same number of network evaluations.
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
    """Returns (FID, its floor) of one sample per image of the split."""
    overrides = [f"task.sampler={sampler}", f"task.steps={steps}", "task.bits_per_dim=False", *settings]
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = evaluate.run(run, split=split, format="json", settings=overrides)["metrics"][split]
    if "fid" not in metrics:
        raise UserError(f"{run} has no FID classifier, so its evaluation samples no images; set task.fid_classifier")
    return metrics["fid"], metrics["fid_floor"]


def picture(evaluations: Sequence[int], fids: Mapping[str, Sequence[float]], floor: float) -> np.ndarray:
    """Draws one line per sampler on logarithmic axes, uint8 [height, width, 3]."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    from jaxdl.viz.figure import COLORS, new_figure, plain, render

    figure = new_figure(640, 420)
    axes = figure.subplots()
    for color, (sampler, values) in zip(COLORS, fids.items()):
        axes.plot(evaluations[: len(values)], values, marker="o", color=color, label=sampler)
    axes.axhline(floor, color="gray", linestyle=":", label="between real images")
    axes.set(xscale="log", yscale="log", xlabel="network evaluations per image", ylabel="FID")
    axes.set_xticks(evaluations, [str(count) for count in evaluations], minor=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()
    plain(axes)
    axes.legend(frameon=False)
    return render(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", help="run folder of jaxdl.tasks.diffusion with an FID classifier")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--steps", default="5,10,20,50", help="network evaluations, comma-separated")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override of the run's config")
    parser.add_argument("--output", default="sampling.png")
    arguments = parser.parse_args()
    evaluations = sorted(int(count) for count in arguments.steps.split(","))
    fids: dict[str, list[float]] = {}
    floor = float("nan")
    try:
        for sampler in SAMPLERS:
            fids[sampler] = []
            for count in evaluations:
                start = time.perf_counter()
                steps = max(1, (count + 1) // 2) if sampler == "heun" else count
                value, floor = fid(arguments.run, arguments.split, sampler, steps, arguments.set)
                fids[sampler].append(value)
                print(f"{sampler:12} {count:5} {value:9.3f}  ({time.perf_counter() - start:.0f} s)", flush=True)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print(f"floor, between real images: {floor:.3f}")
    write_png(Path(arguments.output), picture(evaluations, fids, floor))


if __name__ == "__main__":
    main()
