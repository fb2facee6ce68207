"""Full disks at chosen points of a run and of other commands; the run is resumed after space was freed.

  python -m benchmarks.full_disks [--keep=DIR]        as root, which mounts a tmpfs

At a file operation of the run (`benchmarks.faults`), a second file takes all space that is left. The run must end with
one line and exit code 2, and after the second file was deleted, with the state of an undisturbed run. Exports, reports,
predictions and data sets are written to a full disk, data sets also to one with little space.
"""

import argparse
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults import Fault, ended, faults_of, fill, fork, run, start
from benchmarks.kills import RUN

POINTS = {
    "before config.json": (r"/\.?config\.txt", 1),
    "TensorBoard": (r"/tensorboard/", 1),
    "metrics": (r"/metrics\.jsonl", 3),
    "first checkpoint": (r"/checkpoints/5\b", 1),
    "second checkpoint": (r"/checkpoints/10\b", 20),
    "evaluation": (r"/metrics\.jsonl", 10),
    "picture": (r"/pictures/", 2),
    "last commit": (r"/checkpoints/30\b", 30),
    "result.json": (r"/\.?result\.json", 2),
    "seal.json": (r"/\.?seal\.json", 11),
}


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a tmpfs."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def last_line(output: str) -> str:
    """Returns the error of an output, with the number of lines that are not progress of the run."""
    errors = [line for line in output.splitlines() if line.startswith(("error: ", "Traceback"))]
    return f"{len(errors)} | {errors[-1] if errors else output.strip()[-200:]}"


def run_points(root: Path, reference: Path) -> None:
    print("point | exit | seconds | lines | last line | after space was freed")
    for number, (point, (pattern, count)) in enumerate(POINTS.items()):
        with mounted(root / f"disk{number}", "40M") as disk:
            workdir, files = disk / "run", root / f"run{number}"
            arguments, begin = [*RUN, f"--workdir={workdir}"], time.monotonic()
            end = ended(fork(arguments, files, Fault(pattern, count, fill=str(disk / "ballast"))), files, begin)
            (disk / "ballast").unlink(missing_ok=True)
            again = run(arguments, files)
            after = ", ".join(faults_of(workdir, reference)) or "equal" if again.code == 0 else last_line(again.output)
            line = last_line(end.output).replace(str(disk), "DISK")
            code = f"{end.code}{'' if end.fired else ' (not reached)'}"
            print(f"{point} | {code} | {end.seconds:.0f} | {line} | {after}", flush=True)


def run_commands(root: Path, run_folder: Path) -> None:
    """Prints the ends of other commands that write to a full disk."""
    image = run_folder / "pictures" / "30_learning_curves.png"
    folder, output = str(run_folder), "--output=DISK"
    commands = {
        "export": ["export", folder, "--to=stablehlo", f"{output}/export"],
        "report, HTML": ["report", folder, f"{output}/report.html"],
        "report, CSV": ["report", str(run_folder.parent), f"{output}/report.csv"],
        "curves": ["curves", folder, f"{output}/curves.png"],
        "predict": ["predict", folder, str(image), f"{output}/predictions.csv"],
        "explain": ["explain", folder, str(image), f"{output}/explain"],
    }
    print("command | exit | lines | last line")
    for number, (name, arguments) in enumerate(commands.items()):
        with mounted(root / f"command{number}", "1M") as disk:
            fill(disk / "ballast")
            _print(name, disk, [word.replace("DISK", str(disk)) for word in arguments])
    for number, size in enumerate(("4k", "60k", "200k", "400k")):
        with mounted(root / f"data{number}", size) as disk:
            _print(f"data --prepare, {size}", disk, ["data", "--prepare=digits"], JAXDL_DATA=str(disk))


def _print(name: str, disk: Path, arguments: list[str], **environment: str) -> None:
    process = start(arguments, env={**os.environ, **environment})
    output, _ = process.communicate(timeout=300)
    print(f"{name} | {process.returncode} | {last_line(output).replace(str(disk), 'DISK')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keep", help="folder of the undisturbed run and of the outputs")
    arguments = parser.parse_args()
    root = Path(arguments.keep or tempfile.mkdtemp(prefix="full-disks-")).absolute()
    root.mkdir(parents=True, exist_ok=True)
    reference = root / "undisturbed"
    end = run([*RUN, f"--workdir={reference}"], reference)
    if end.code:
        raise SystemExit(end.output)
    run_points(root, reference)
    run_commands(root, reference)


if __name__ == "__main__":
    main()
