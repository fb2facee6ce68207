"""A sweep as a shell script for a TPU pod: each run on all hosts of a slice at once, one run after the other."""

import shlex
from collections.abc import Sequence

from jaxdl.errors import UserError
from jaxdl.launchers import Job, Options, settings_of, written

SETTINGS = {
    "tpu": "",  # the slice's name
    "zone": "",
    "folder": "jaxdl",  # where this repository lies on every host
}


def launch(jobs: Sequence[Job], options: Options) -> None:
    """Writes the script; a run that was stopped (75) is begun again, one that failed as often as `options.retries`.

    Raises:
      UserError: a setting that does not exist or is missing, or a file that cannot be written.
    """
    settings = settings_of("tpu", options.more, SETTINGS)
    for name in ("tpu", "zone"):
        if not settings[name]:
            raise UserError(f"the script needs --launch={name}=NAME")
    path = written(options, "sweep.sh", script(jobs, options, settings))
    print(f"{path}: {len(jobs)} run(s), for bash {path}")


def script(jobs: Sequence[Job], options: Options, settings: dict[str, str]) -> str:
    """A run on a slice of several hosts is one program: JAX finds the others by itself."""
    name, zone = shlex.quote(settings["tpu"]), shlex.quote(settings["zone"])
    lines = [
        "#!/bin/bash",
        "# Every host runs the same command; run folders lie where all of them can write.",
        "run() {",
        f"  for try in $(seq 0 {options.retries}); do",
        "    while true; do",
        f'      gcloud compute tpus tpu-vm ssh {name} --zone={zone} --worker=all --command="$1"',
        "      code=$?",
        "      [ $code = 75 ] || break",
        "    done",
        "    [ $code = 0 ] && return 0",
        "    [ $code = 2 ] && break",
        "  done",
        '  echo "failed with exit code $code: $1" >&2',
        "}",
    ]
    inside = f"cd {shlex.quote(settings['folder'])} && python launch.py"
    lines += [f"run {shlex.quote(f'{inside} {shlex.join(job.command[2:])}')}" for job in jobs]
    return "\n".join(lines) + "\n"
