"""Training throughput of a recurrent language model on CPU, against torch.nn.LSTM.

  python -m benchmarks.rnn_vs_torch [--features=384] [--layers=1] [--batch=64] [--length=96]

The network of experiments/rnn/austen_chars.py without dropout: embeddings of 64, LSTM, logits of 88 characters,
truncated BPTT with carried state. All train in float32 with SGD and momentum on the same random tokens, from the same
weights. "jaxdl, lax.scan" is the step without the LSTM's custom gradient: the cell is scanned over time and
differentiated by JAX. Before timing, the losses of three steps must be equal. Rounds alternate in one process. Needs
the peer extra.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import training
from benchmarks.contest import measure, report
from benchmarks.training import prepare, verify_losses
from benchmarks.vs_torch import MOMENTUM, RATE

VOCABULARY, EMBEDDING = 88, 64


def task_of(sizes: argparse.Namespace, scanned: bool = False) -> Any:
    """Returns the language modelling task of jaxdl; `scanned` without the LSTM's own gradient."""
    import flax.linen as nn
    import jax

    from jaxdl.models.layers.recurrence import lstm_gates
    from jaxdl.models.rnn import LSTM, forget_bias
    from jaxdl.models.sequence import LanguageModel
    from jaxdl.tasks.language_modelling import LanguageModelling

    class ScannedLSTM(LSTM):
        @nn.compact
        def __call__(self, x, *, mask=None, state=None):
            kernel, recurrent, bias = self.kernels(x.shape[-1], 4, lambda: forget_bias(self.features))

            def step(state, x):
                i, f, g, o = lstm_gates(x @ kernel + bias + state[0] @ recurrent)
                cell = f * state[1] + i * g
                return o * jax.numpy.tanh(cell), cell

            return self.run(step, x, mask, state)

    cell = ScannedLSTM if scanned else LSTM
    return LanguageModelling(LanguageModel(VOCABULARY, sizes.features, EMBEDDING, sizes.layers, cell))


class Theirs(training.Theirs):
    """PyTorch: torch.nn.LSTM (fused on CPU by oneDNN), with our weights."""

    def __init__(self, sizes: argparse.Namespace, batch: Mapping[str, np.ndarray], params: Mapping[str, Any]):
        import torch

        self.embed = torch.nn.Embedding(VOCABULARY, EMBEDDING)
        self.lstm = torch.nn.LSTM(EMBEDDING, sizes.features, sizes.layers, batch_first=True)
        self.head = torch.nn.Linear(sizes.features, VOCABULARY)
        self.tokens = torch.from_numpy(batch["tokens"]).long()
        self.state = None
        copies = {
            self.embed.weight: params["embed"]["embedding"],
            self.head.weight: params["head"]["kernel"].T,
            self.head.bias: params["head"]["bias"],
        }
        for layer in range(sizes.layers):
            layer_params = params["stack"][f"layer{layer + 1}"]
            copies[getattr(self.lstm, f"weight_ih_l{layer}")] = layer_params["kernel"].T
            copies[getattr(self.lstm, f"weight_hh_l{layer}")] = layer_params["recurrent_kernel"].T
            copies[getattr(self.lstm, f"bias_ih_l{layer}")] = layer_params["bias"]
            recurrent_bias = getattr(self.lstm, f"bias_hh_l{layer}")  # constant: jaxdl has a single bias
            recurrent_bias.requires_grad_(False)
            copies[recurrent_bias] = np.zeros(4 * sizes.features, np.float32)
        with torch.no_grad():
            for parameter, value in copies.items():
                parameter.copy_(torch.from_numpy(np.array(value)))
        trained = [parameter for parameter in copies if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, RATE, MOMENTUM, foreach=True)
        super().__init__({}, [("train", self._loss, optimizer)])

    def _loss(self) -> Any:
        import torch

        outputs, state = self.lstm(self.embed(self.tokens[:, :-1]), self.state)
        self.state = tuple(tensor.detach() for tensor in state)
        return torch.nn.functional.cross_entropy(self.head(outputs).flatten(0, 1), self.tokens[:, 1:].flatten())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=384)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64, help="sequences per step")
    parser.add_argument("--length", type=int, default=96, help="characters per sequence")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="steps per round")
    parser.add_argument("--rounds", type=int, default=7)
    sizes = parser.parse_args(argv)
    prepare(sizes.threads)
    import jax
    import optax

    draws = np.random.default_rng(0)
    batch = {
        "tokens": draws.integers(4, VOCABULARY, (sizes.batch, sizes.length + 1)).astype(np.int32),
        "first": np.zeros(sizes.batch, np.float32),
        "weight": np.ones(sizes.batch, np.float32),
        "index": np.arange(sizes.batch, dtype=np.int32),
    }
    optimizers = {"train": optax.sgd(RATE, momentum=MOMENTUM)}
    ours = training.Ours(task_of(sizes), optimizers, batch)
    contestants = {
        "jaxdl": ours,
        "jaxdl, lax.scan": training.Ours(task_of(sizes, scanned=True), optimizers, batch),
        "torch.nn.LSTM": Theirs(sizes, batch, jax.device_get(ours.state.params["language_model"])),
    }
    verify_losses(contestants)
    rates = measure(contestants, sizes.batch, sizes.steps, sizes.rounds)
    report("LSTM step", rates, sizes.batch, "sequences/s")


if __name__ == "__main__":
    main()
