"""Whether `launch.py plan` says how much memory a step takes: against what a process really has at most.

Run: python -m benchmarks.plan_memory [RECIPE...]

For one recipe of each family on eight virtual CPU devices: the peak that a plan gives a device, times eight, against
how much larger the resident set was at its largest, during three steps, than before the state was made. The recipe's
data have to be here. Linux only.
"""

import gc
import json
import re
import subprocess
import sys
from pathlib import Path

FAMILIES = (
    "experiments/cnn/fashion_mnist.py",
    "experiments/rnn/austen_chars.py",
    "experiments/autoencoder/fashion_autoencoder.py",
    "experiments/gan/fashion_dcgan.py",
    "experiments/diffusion/fashion_ddpm.py",
    "experiments/transformer/austen_gpt.py",
)


def resident(kind: str) -> int:
    """Bytes: "VmRSS", now; "VmHWM", at most since the last reset."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def measure(recipe: str) -> None:
    """Prints a JSON object: planned and measured bytes."""
    import os

    # Freed memory goes back at once, and large blocks lie each for itself.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
    from jaxdl.runs.environment import configure

    configure(cpu_devices=8)
    import jax

    from jaxdl.config import overrides, serialize
    from jaxdl.config.recipes import load_recipe
    from jaxdl.data.pipeline import Batches
    from jaxdl.distributed.cost_model import costs
    from jaxdl.training.loop import make_program
    from jaxdl.training.sources import Sources

    experiment = serialize.build(overrides.resolve(load_recipe(recipe), []))
    sources = Sources(experiment.data.train.load(), {})
    program = make_program(experiment, sources)
    planned = 8 * costs(program).peak
    batches = Batches(sources.train, experiment.data, experiment.seed, rows=program.rows)
    on_host = [batches.at(step) for step in range(3)]
    state = program.init()
    jax.block_until_ready(program.step(state, program.place(on_host[0])))  # what is made once is there
    del state
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    state = program.init()
    for batch in on_host:
        state, report = program.step(state, program.place(batch))
        jax.block_until_ready((state, report))
    print(json.dumps({"planned": planned, "measured": resident("VmHWM") - before}))


def main(recipes: list[str]) -> None:
    print(f"{'recipe':<50} {'planned MB':>11} {'measured MB':>12} {'ratio':>6}")
    for recipe in recipes or FAMILIES:
        command = [sys.executable, "-m", "benchmarks.plan_memory", "--one", recipe]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(told.splitlines()[-1])
        ratio = found["planned"] / found["measured"]
        print(
            f"{recipe:<50} {found['planned'] / 1e6:>11.1f} {found['measured'] / 1e6:>12.1f} {ratio:>6.2f}", flush=True
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        main(sys.argv[1:])
