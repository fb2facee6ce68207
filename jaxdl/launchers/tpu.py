"""TPU launcher: a shell script that trains one run after the other on all hosts of a pod slice.

gcloud does not return the exit codes of all hosts, so each host prints its own. If a host does not answer, because it
was lost or the slice was preempted, the run is resumed when the slice is ready; this does not count as a retry. Before
each attempt, processes that an earlier one left on a host are stopped, since they hold the TPU.
"""

import shlex
from collections.abc import Sequence

from jaxdl.launchers import Job, Options, settings_of, written

FILE, MARK = "sweep.sh", "Written by jaxdl sweep"
SETTINGS = {
    "tpu": "",  # name of the slice
    "zone": "",
    "folder": "jaxdl",  # path of this repository on every host
    "losses": "20",  # times that a run is resumed after a lost host or slice
    "wait": "60",  # minutes to wait for the slice to be ready
}
REQUIRED = {"tpu": "NAME", "zone": "NAME"}
NUMBERS = {"losses": 0, "wait": 0}
FORMS: dict[str, tuple[str, str]] = {}

# The processes of an attempt are a group, whose id is in the file .jaxdl.pid of a host while it runs.
_FUNCTIONS = r"""
tpu() { gcloud compute tpus tpu-vm "$1" "$name" --zone="$zone" "${@:2}"; }

# Waits until the slice is ready.
ready() {
  for _ in $(seq 0 15 $((60 * wait))); do
    [ "$(tpu describe --format='value(state)')" = READY ] && return 0
    sleep 15
  done
  echo "the slice is not ready after $wait minutes" >&2
  exit 1
}

# Stops an attempt that is left on a host.
stop='
file=$HOME/.jaxdl.pid
[ -f "$file" ] && group=$(cat "$file") && kill -TERM -- "-$group" && for _ in $(seq 60); do
  kill -0 -- "-$group" || break
  sleep 1
done && kill -KILL -- "-$group"
rm -f "$file"'

# Runs a command on all hosts; prints the different exit codes of the hosts, and "lost" if a host did not answer.
attempt() {
  tpu ssh --worker=all --command="$stop" > /dev/null 2>&1
  local group='echo $! > $HOME/.jaxdl.pid; wait $!; echo "jaxdl-exit $?"; rm -f $HOME/.jaxdl.pid'
  tpu ssh --worker=all --command="set -m; ( $1 ) < /dev/null & $group" 2>&1 | tee "$log" >&2
  [ "${PIPESTATUS[0]}" = 0 ] && grep -q 'jaxdl-exit' "$log" || echo lost
  grep -o 'jaxdl-exit [0-9]*' "$log" | cut -d ' ' -f 2 | sort -u
}

run() {
  local failures=0 lost=0 codes
  while true; do
    ready
    codes=" $(attempt "$1" | tr '\n' ' ')"
    case "$codes" in
      " 0 ") return 0 ;;
      *" lost "*) lost=$((lost + 1)); [ $lost -le $losses ] || break ;;
      *" 2 "* | *" 76 "*) break ;;
      " 0 75 " | " 75 ") ;;
      *) failures=$((failures + 1)); [ $failures -le $retries ] || break ;;
    esac
  done
  echo "failed with exit code$codes: $1" >&2
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"""


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
    name, zone, losses, wait = (shlex.quote(settings[key]) for key in ("tpu", "zone", "losses", "wait"))
    values = {"name": name, "zone": zone, "retries": options.retries, "losses": losses, "wait": wait}
    head = [
        "#!/bin/bash",
        f"# {MARK}. Every host runs the same command; all of them must be able to write the run folders.",
    ]
    text = "\n".join([*head, *(f"{key}={value}" for key, value in values.items()), _FUNCTIONS])
    folder = shlex.quote(settings["folder"])
    commands = [f"cd {folder} && python launch.py {shlex.join(job.command[2:])}" for job in jobs]
    return text + "".join(f"run {shlex.quote(command)}\n" for command in commands)
