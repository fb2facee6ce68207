"""First training step of the classifier of experiments/cnn/digits.py in a minimal PyTorch script.

  python -m benchmarks.torch_digits DIGITS.npz

Prints the loss of the step. The file has `image` uint8 [n, 8, 8, 1] and `label` [n].
"""

import sys
from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.torch_cnn import ConvNetTwin

BATCH = 128


def main() -> None:
    model = SimpleNamespace(
        channels=(32, 64), depth=2, downsample="stride", halve_first=False, residual=False, num_classes=10
    )
    network = ConvNetTwin(model, 1)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    digits = np.load(sys.argv[1])
    rows = np.random.default_rng(0).permutation(len(digits["label"]))[:BATCH]
    image = torch.from_numpy(digits["image"][rows].transpose(0, 3, 1, 2)).float() / 255
    label = torch.from_numpy(digits["label"][rows]).long()
    loss = torch.nn.functional.cross_entropy(network((image - 0.5) / 0.25), label, label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    print(f"loss {float(loss.detach()):.4f}", flush=True)


if __name__ == "__main__":
    main()
