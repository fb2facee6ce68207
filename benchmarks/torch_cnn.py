"""ConvNet and ResNet (basic blocks) of jaxdl.models.resnet in PyTorch, with their loss."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class ConvStageTwin(nn.Module):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        depth: int,
        downsample: str,
        residual: bool,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):
        super().__init__()
        self.depth, self.downsample, self.residual = depth, downsample, residual
        for index in range(depth):
            stride = 2 if index == 0 and downsample == "stride" else 1
            self.add_module(f"conv{index + 1}", convolution(inputs if index == 0 else outputs, outputs, 3, stride))
            self.add_module(f"norm{index + 1}", norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index in range(self.depth):
            y = self.get_submodule(f"conv{index + 1}")(x)
            if index == 0 and self.downsample == "max":
                y = functional.max_pool2d(y, 2)
            y = functional.relu(self.get_submodule(f"norm{index + 1}")(y))
            x = x + y if self.residual and index > 0 else y
        return x


class ConvNetTwin(nn.Module):
    """PyTorch twin of `jaxdl.models.convnet.ConvNet`.

    [batch, channels, height, width] -> logits [batch, classes].
    """

    def __init__(self, model: Any, channels: int):
        super().__init__()
        self.stages = []
        for index, outputs in enumerate(model.channels):
            downsample = model.downsample if index or model.halve_first else "none"
            stage = ConvStageTwin(channels, outputs, model.depth, downsample, model.residual)
            self.add_module(f"stage{index + 1}", stage)
            self.stages.append(stage)
            channels = outputs
        self.head = nn.Linear(channels, model.num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)))


class BasicBlockTwin(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = convolution(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.shortcut, self.shortcut_norm = convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(y + (self.shortcut_norm(self.shortcut(x)) if self.projects else x))


class StemTwin(nn.Module):
    def __init__(self, inputs: int, outputs: int, kind: str):
        super().__init__()
        self.strided = kind == "strided"
        self.conv, self.norm = convolution(inputs, outputs, 3, 2 if self.strided else 1), nn.BatchNorm2d(outputs)
        if self.strided:
            self.conv2, self.norm2 = convolution(outputs, outputs, 3, 2), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.conv(x)))
        return functional.relu(self.norm2(self.conv2(x))) if self.strided else x


class StageTwin(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int):
        super().__init__()
        self.blocks = []
        for index in range(blocks):
            block = BasicBlockTwin(outputs if index else inputs, outputs, 1 if index else stride)
            self.add_module(f"block{index + 1}", block)
            self.blocks.append(block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class ResNetTwin(nn.Module):
    """PyTorch twin of a jaxdl ResNet: basic blocks with the small or the strided stem."""

    def __init__(self, model: Any, channels: int):
        from jaxdl.models.resnet import BasicBlock

        super().__init__()
        if model.block is not BasicBlock or model.stem not in ("small", "strided"):
            raise SystemExit("the PyTorch twin of ResNet has basic blocks and the small or the strided stem only")
        self.stem = StemTwin(channels, model.width, model.stem)
        self.stages, inputs = [], model.width
        for index, blocks in enumerate(model.stage_sizes):
            outputs = model.width * 2**index
            stage = StageTwin(inputs, outputs, blocks, 2 if index else 1)
            self.add_module(f"stage{index + 1}", stage)
            self.stages.append(stage)
            inputs = outputs
        self.head = nn.Linear(inputs, model.num_classes)

    def scales(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Returns the output of every stage, finest first."""
        x, outputs = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.scales(x)[-1].mean(dim=(2, 3)))


def classifier(task: Any, shape: Sequence[int]) -> tuple[nn.Module, Callable[..., torch.Tensor]]:
    """Returns the twin of a ConvNet, ResNet or VisionTransformer, and its loss."""
    from benchmarks.torch_vit import VisionTransformerTwin
    from jaxdl.models.convnet import ConvNet
    from jaxdl.models.resnet import ResNet
    from jaxdl.models.vit import VisionTransformer

    kind = type(task.model)
    twins: dict[type, Callable[..., nn.Module]] = {
        ConvNet: lambda: ConvNetTwin(task.model, shape[-1]),
        ResNet: lambda: ResNetTwin(task.model, shape[-1]),
        VisionTransformer: lambda: VisionTransformerTwin(task.model, shape),
    }
    if kind not in twins:
        raise SystemExit(f"{kind.__name__} does not have a PyTorch twin; use {', '.join(k.__name__ for k in twins)}")
    criterion = nn.CrossEntropyLoss(label_smoothing=task.label_smoothing)
    return twins[kind](), lambda logits, batch: criterion(logits, batch["label"].long())
