"""TPU launcher: a shell script that trains one run after the other on all hosts of a pod slice."""

import shlex
from collections.abc import Sequence

from jaxdl.launchers import Job, Options, settings_of, written

FILE, MARK = "sweep.sh", "Written by jaxdl sweep"
SETTINGS = {
    "tpu": "",  # name of the slice
    "zone": "",
    "folder": "jaxdl",  # path of this repository on every host
}
REQUIRED = {"tpu": "NAME", "zone": "NAME"}
NUMBERS: dict[str, int] = {}


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Writes the script. It resumes stopped runs (exit code 75) and retries failed runs `options.retries` times.

    Raises:
      UserError: An unknown or missing setting, or a file that cannot be written.
    """
    settings = settings_of("tpu", options)
    path = written("tpu", options, script(jobs, options, settings))
    print(f"{path}: {len(jobs)} run(s), for bash {path}")


def script(jobs: Sequence[Job], options: Options, settings: dict[str, str]) -> str:
    """Returns the script. On a slice of several hosts JAX detects the other processes of a run."""
    name, zone = shlex.quote(settings["tpu"]), shlex.quote(settings["zone"])
    lines = [
        "#!/bin/bash",
        f"# {MARK}. Every host runs the same command; all of them must be able to write the run folders.",
        "run() {",
        f"  for try in $(seq 0 {options.retries}); do",
        "    while true; do",
        f'      gcloud compute tpus tpu-vm ssh {name} --zone={zone} --worker=all --command="$1"',
        "      code=$?",
        "      [ $code = 75 ] || break",
        "    done",
        "    [ $code = 0 ] && return 0",
        "    [ $code = 2 ] || [ $code = 76 ] && break",
        "  done",
        '  echo "failed with exit code $code: $1" >&2',
        "}",
    ]
    inside = f"cd {shlex.quote(settings['folder'])} && python launch.py"
    lines += [f"run {shlex.quote(f'{inside} {shlex.join(job.command[2:])}')}" for job in jobs]
    return "\n".join(lines) + "\n"
