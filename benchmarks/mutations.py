"""Random damage to the files of runs and prepared data, and the commands that notice it.

Run: python -m benchmarks.mutations [--count=1000] [--seed=0] [--jobs=2] [--faults=FILE]

Each mutation damages one file of a copy of two scenes (tests/damaged/): eight kinds of damage to every kind of file of
a finished run, a killed run and their data home. All commands that read the file follow. The table counts the worst
outcome of each mutation. `noticed` is a refusal or a warning in one line that names the file, `harmless` an output like
that of the intact scene; the others are faults.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SCENES = {"images": ("{root}/runs/b/pictures",), "texts": ("--text=dull fine warm",)}


def measure(name: str, count: int, seed: int, faults: Path | None) -> Counter[tuple[str, str]]:
    """Returns the number of mutations of a scene by (kind of file, worst outcome), and appends faults to a file."""
    from jaxdl.testing.damage import HARMLESS, NOTICED, OUTCOMES, Scene, kind_of

    table: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder) / name, f"tests/damaged/{name}.py", SCENES[name])
        begin = time.monotonic()
        for number, mutation in enumerate(scene.draw(count, seed), start=1):
            results = scene.test(mutation)
            outcomes = {result.outcome for result in results}
            worst = max(outcomes, key=OUTCOMES.index)
            table[kind_of(mutation.file), NOTICED if worst == HARMLESS and NOTICED in outcomes else worst] += 1
            for result in results:
                if result.outcome not in (HARMLESS, NOTICED) and faults is not None:
                    with faults.open("a") as file:
                        file.write(f"== {name} {mutation} {result.command}: {result.outcome}\n{result.text}\n")
            if number % 10 == 0:
                print(f"{name}: {number} in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes; each trains its own scene")
    parser.add_argument("--faults", type=Path, help="file to which faults are written with the output of the command")
    arguments = parser.parse_args()
    if os.geteuid() == 0 and "JAXDL_UNPRIVILEGED" not in os.environ:  # root reads files without permission
        os.environ["JAXDL_UNPRIVILEGED"] = "1"
        drop = "-dac_override,-dac_read_search"
        words = [f"--bounding-set={drop}", f"--inh-caps={drop}", sys.executable, "-m", "benchmarks.mutations"]
        os.execvp("setpriv", ["setpriv", *words, *sys.argv[1:]])
    from jaxdl.runs.table import aligned
    from jaxdl.testing.damage import OUTCOMES

    table: Counter[tuple[str, str]] = Counter()
    share = -(-arguments.count // max(arguments.jobs, 2))
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = [(tuple(SCENES)[number % 2], arguments.seed + number // 2) for number in range(max(arguments.jobs, 2))]
        for job in [pool.submit(measure, name, share, seed, arguments.faults) for name, seed in jobs]:
            table += job.result()
    rows = [[kind, *(table[kind, outcome] for outcome in OUTCOMES)] for kind in sorted({kind for kind, _ in table})]
    rows.append(["all", *(sum(column) for column in zip(*(row[1:] for row in rows)))])
    lines = [(str(kind), str(sum(numbers)), *map(str, numbers)) for kind, *numbers in rows]
    print(aligned([("file", "mutations", *OUTCOMES), *lines]))


if __name__ == "__main__":
    main()
