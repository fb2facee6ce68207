"""U-Net of `jaxdl.models.unet` and losses of semantic segmentation in PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.torch_cnn import ConvStageTwin, convolution

UNLABELLED = 255


class DownBlockTwin(nn.Module):
    def __init__(self, inputs: int, outputs: int, depth: int, halve: bool):
        super().__init__()
        self.halve, self.convs = halve, ConvStageTwin(inputs, outputs, depth, "none", False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(functional.max_pool2d(x, 2) if self.halve else x)


class UpBlockTwin(nn.Module):
    def __init__(self, inputs: int, outputs: int, depth: int, upsample: str):
        super().__init__()
        self.nearest = upsample == "nearest"
        if self.nearest:
            self.upsample = convolution(inputs, outputs, 3)
        else:
            self.upsample = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
        self.convs = ConvStageTwin(2 * outputs, outputs, depth, "none", False)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.upsample(functional.interpolate(x, scale_factor=2) if self.nearest else x)
        return self.convs(torch.cat([skip, x], dim=1))


class UNetTwin(nn.Module):
    """PyTorch twin of `jaxdl.models.unet.UNet` with batch norm and ReLU, without padding.

    [batch, channels, height, width] -> [batch, outputs, height, width].
    """

    def __init__(self, model: Any, inputs: int):
        super().__init__()
        self.levels = range(1, len(model.channels) + 1)
        for level, outputs in zip(self.levels, model.channels):
            self.add_module(f"down{level}", DownBlockTwin(inputs, outputs, model.depth, level > 1))
            if level > 1:
                self.add_module(f"up{level - 1}", UpBlockTwin(outputs, inputs, model.depth, model.upsample))
            inputs = outputs
        self.final = nn.Conv2d(model.channels[0], model.outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in self.levels:
            x = self.get_submodule(f"down{level}")(x)
            skips.append(x)
        skips.pop()
        for level in reversed(self.levels[:-1]):
            x = self.get_submodule(f"up{level}")(x, skips.pop())
        return self.final(x)


class PixelUnshuffleTwin(nn.Module):
    """PyTorch twin of `jaxdl.models.unet.PixelUnshuffle`; unlike in PyTorch, the channels of a pixel are adjacent."""

    def __init__(self, network: nn.Module, factor: int):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        rows, columns, factor = height // self.factor, width // self.factor, self.factor
        x = x.reshape(batch, channels, rows, factor, columns, factor).permute(0, 3, 5, 1, 2, 4)
        x = self.network(x.reshape(batch, -1, rows, columns))
        x = x.reshape(batch, factor, factor, -1, rows, columns).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(batch, -1, height, width)


def segmentation_loss(logits: torch.Tensor, batch: Mapping[str, torch.Tensor], dice: float) -> torch.Tensor:
    """Computes cross-entropy per labelled pixel plus `dice` times the soft Dice loss.

    Dice is averaged over the classes in an example's mask.
    """
    mask = batch["mask"].long()
    log_probabilities = functional.log_softmax(logits, dim=1)
    loss = functional.nll_loss(log_probabilities, mask, ignore_index=UNLABELLED)
    if not dice:
        return loss
    labelled = (mask != UNLABELLED).unsqueeze(1)
    classes = torch.arange(logits.shape[1]).reshape(-1, 1, 1)
    target = (mask.unsqueeze(1) == classes).float()
    probabilities = log_probabilities.exp() * labelled
    intersection = (probabilities * target).sum((2, 3))
    cardinality = (probabilities.square() + target).sum((2, 3))
    occurs = target.amax((2, 3))
    counts = occurs.sum(1)
    losses = (occurs * (1 - 2 * intersection / cardinality.clamp(min=1e-9))).sum(1) / counts.clamp(min=1)
    return loss + dice * losses.sum() / (counts > 0).sum().clamp(min=1)


def segmenter(task: Any, shape: Sequence[int]) -> tuple[nn.Module, Callable[..., torch.Tensor]]:
    """Returns the twin of a U-Net on blocks of pixels and its loss; the task must not use label smoothing."""
    from jaxdl.models.unet import PixelUnshuffle, UNet

    model = task.model
    if type(model) is not PixelUnshuffle or type(model.network) is not UNet or task.label_smoothing:
        raise SystemExit("the PyTorch twin of semantic segmentation is PixelUnshuffle(UNet()) without label smoothing")
    network = UNetTwin(model.network, model.factor**2 * shape[-1])
    dice = float(task.dice)
    return PixelUnshuffleTwin(network, model.factor), lambda logits, batch: segmentation_loss(logits, batch, dice)
