"""Throughput of the CTC loss and its gradient on CPU, against torch.nn.functional.ctc_loss.

  python -m benchmarks.ctc_vs_torch [--batch=32] [--length=128] [--tokens=40] [--vocabulary=32]

Random logits and targets of different lengths. jaxdl's loss is that of `SpeechRecognition`, compiled with its gradient
with respect to the logits. Before timing, losses and gradients must be equal. Needs the peer extra.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks.contest import Repeated, measure, report
from benchmarks.training import TOLERANCE, prepare

GRADIENT_TOLERANCE = 1e-3  # log-probabilities of about -300 are rounded to 3e-5, and the errors of the steps add up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="steps per example")
    parser.add_argument("--tokens", type=int, default=40, help="tokens per target")
    parser.add_argument("--vocabulary", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10, help="losses per round")
    parser.add_argument("--rounds", type=int, default=5)
    sizes = parser.parse_args()
    prepare()
    import jax
    import torch

    from jaxdl.tasks.speech_recognition import ctc

    draws = np.random.default_rng(0)
    logits = draws.normal(size=(sizes.batch, sizes.length, sizes.vocabulary)).astype(np.float32)
    steps = draws.integers(2 * sizes.tokens, sizes.length + 1, sizes.batch).astype(np.int32)
    target = draws.integers(1, sizes.vocabulary, (sizes.batch, sizes.tokens)).astype(np.int32)
    target_length = draws.integers(sizes.tokens // 2, sizes.tokens + 1, sizes.batch).astype(np.int32)

    @jax.jit
    def ours(logits: jax.Array) -> Any:
        return jax.value_and_grad(lambda logits: ctc(logits, steps, target, target_length).loss.sum())(logits)

    device_logits = jax.device_put(logits)
    leaf = torch.from_numpy(logits.copy()).requires_grad_()
    labels = [torch.from_numpy(array).long() for array in (target, steps, target_length)]

    def loss() -> Any:
        log_probabilities = leaf.log_softmax(-1).transpose(0, 1)
        return torch.nn.functional.ctc_loss(log_probabilities, *labels, reduction="sum")

    def theirs(function: Any) -> tuple[float, np.ndarray]:
        leaf.grad = None
        value = function()
        value.backward()
        assert leaf.grad is not None
        return float(value.detach()), leaf.grad.numpy()

    functions = {"PyTorch eager": loss, "PyTorch compiled": torch.compile(loss)}
    our_loss, our_gradient = ours(device_logits)
    for name, function in functions.items():
        their_loss, their_gradient = theirs(function)
        gaps = abs(their_loss / float(our_loss) - 1), float(np.abs(their_gradient - np.asarray(our_gradient)).max())
        print(f"{name}: difference of losses {gaps[0]:.1e} (relative), of gradients {gaps[1]:.1e}")
        if not (gaps[0] <= TOLERANCE and gaps[1] <= GRADIENT_TOLERANCE):  # also fails for NaN
            raise SystemExit("the losses are not equal, so their speeds cannot be compared")
    contestants = {"jaxdl": Repeated(lambda: jax.block_until_ready(ours(device_logits)))}
    contestants |= {name: Repeated(lambda f=function: theirs(f)) for name, function in functions.items()}
    report("CTC loss", measure(contestants, sizes.batch, sizes.steps, sizes.rounds), sizes.batch, "examples/s")


if __name__ == "__main__":
    main()
