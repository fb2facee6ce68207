"""Accuracy of `launch.py plan`: planned against measured peak memory of a step.

Run: python -m benchmarks.plan_memory [RECIPE...]

By default one recipe per family, on eight virtual CPU devices. Planned: the peak per device times eight. Measured: the
increase of the peak resident set during three steps over the resident set before the state is created. The recipe's
data must be prepared. Linux only.
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
    """Reads resident bytes: "VmRSS" is the current size, "VmHWM" the peak since the last reset."""
    match = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def measure(recipe: str) -> None:
    """Prints planned and measured bytes as a JSON object."""
    import os

    # Freed memory is returned at once, and large blocks are mapped separately.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
    from jaxdl.config import resolve
    from jaxdl.config.experiment import build
    from jaxdl.runs.environment import configure

    configure(cpu_devices=8)
    import jax

    from jaxdl.distributed.cost_model import costs
    from jaxdl.training.loop import make_program
    from jaxdl.training.sources import Sources, training_batches

    experiment = build(resolve(recipe, []))
    sources = Sources(experiment.data.train.load(), {})
    program = make_program(experiment, sources)
    planned = 8 * costs(program).peak
    batches = training_batches(sources.train, experiment, rows=program.rows)
    on_host = [batches.at(step) for step in range(3)]
    state = program.init()
    jax.block_until_ready(program.step(state, program.place(on_host[0])))  # one-time allocations are done
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
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        sizes = json.loads(output.splitlines()[-1])
        ratio = sizes["planned"] / sizes["measured"]
        print(
            f"{recipe:<50} {sizes['planned'] / 1e6:>11.1f} {sizes['measured'] / 1e6:>12.1f} {ratio:>6.2f}", flush=True
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        main(sys.argv[1:])
