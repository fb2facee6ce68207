"""The problem that the PyTorch scripts share: digits, shifted at random, and a ConvNet with dropout."""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

STEPS, SAVE_EVERY, BATCH = 400, 40, 64
EXAMPLES = 1600


class Digits(torch.utils.data.Dataset):
    """Digits for training, each shifted by -1, 0 or 1 pixels; every read is logged."""

    def __init__(self):
        digits = load_digits()
        self.images = digits.images[:EXAMPLES].astype(np.float32) / 16
        self.labels = digits.target[:EXAMPLES]

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        down, right = (int(shift) for shift in torch.randint(-1, 2, (2,)))
        image = np.roll(self.images[index], (down, right), (0, 1))
        return {
            "image": torch.from_numpy(image)[None],
            "labels": torch.tensor(self.labels[index]),
            "index": torch.tensor(index),
        }


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(1024, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def optimizer_and_schedule(model: nn.Module):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


def log_batch(folder: Path, step: int, index: torch.Tensor, loss: float) -> None:
    """Appends a line about a training step, as a metrics file would."""
    with open(folder / "steps.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "index": index.tolist(), "loss": loss}) + "\n")


def save_final(folder: Path, model: nn.Module) -> None:
    np.savez(folder / "final.npz", **{name: value.numpy() for name, value in model.state_dict().items()})
