"""Detector of `jaxdl.models.fpn` and losses of `jaxdl.tasks.object_detection` in PyTorch."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.torch_cnn import ConvStageTwin, ResNetTwin, convolution

GROUP_SIZE, LARGEST_EXPONENT = 8, 8.0

Outputs = Mapping[str, Sequence[torch.Tensor]]


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP_SIZE, channels)


class FeaturePyramidTwin(nn.Module):
    def __init__(self, inputs: Sequence[int], channels: int, extra_levels: int):
        super().__init__()
        for number, scale in enumerate(inputs, 1):
            self.add_module(f"lateral{number}", convolution(scale, channels, 1))
            self.add_module(f"output{number}", convolution(channels, channels, 3))
        for number in range(1, extra_levels + 1):
            self.add_module(f"extra{number}", convolution(channels, channels, 3, 2))
        for name in [name for name, _ in self.named_children()]:
            kind = name.rstrip("0123456789")
            self.add_module(f"{kind}_norm{name.removeprefix(kind)}", group_norm(channels))
        self.extra_levels = extra_levels

    def conv_norm(self, x: torch.Tensor, kind: str, number: int) -> torch.Tensor:
        return self.get_submodule(f"{kind}_norm{number}")(self.get_submodule(f"{kind}{number}")(x))

    def forward(self, scales: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        sums = [self.conv_norm(scale, "lateral", number) for number, scale in enumerate(scales, 1)]
        for index in reversed(range(len(sums) - 1)):
            sums[index] = sums[index] + functional.interpolate(sums[index + 1], size=sums[index].shape[2:])
        levels = [self.conv_norm(x, "output", number) for number, x in enumerate(sums, 1)]
        for number in range(1, self.extra_levels + 1):
            x = levels[-1] if number == 1 else functional.relu(levels[-1])
            levels.append(self.conv_norm(x, "extra", number))
        return levels


class DetectorHeadTwin(nn.Module):
    def __init__(self, classes: int, channels: int, depth: int):
        super().__init__()
        self.class_tower = ConvStageTwin(channels, channels, depth, "none", False, group_norm)
        self.box_tower = ConvStageTwin(channels, channels, depth, "none", False, group_norm)
        self.class_logits = nn.Conv2d(channels, classes, 3, padding=1)
        self.distances = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        boxes = self.box_tower(x)
        return self.class_logits(self.class_tower(x)), self.distances(boxes), self.centerness(boxes).squeeze(1)


class DetectorTwin(nn.Module):
    """PyTorch twin of `jaxdl.models.fpn.Detector` over a ResNet, with group norm and ReLU.

    Image sizes must be divisible by the strides. [batch, channels, height, width] -> for each level `class_logits`
    [batch, classes, h, w], `distances` [batch, 4, h, w] in pixels, `centerness` [batch, h, w].
    """

    def __init__(self, model: Any, channels: int):
        super().__init__()
        self.first, self.last = model.levels
        self.backbone = ResNetTwin(model.backbone, channels)
        del self.backbone.head  # the twin does not have the coarsest scale either
        inputs = [model.backbone.width * 2**index for index in range(self.first, self.last + 1)]
        self.pyramid = FeaturePyramidTwin(inputs, model.channels, model.extra_levels)
        self.head = DetectorHeadTwin(model.num_classes, model.channels, model.head_depth)
        self.scale = nn.Parameter(torch.ones(len(inputs) + model.extra_levels))

    def forward(self, image: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        levels = self.pyramid(self.backbone.scales(image)[self.first : self.last + 1])
        outputs: dict[str, list[torch.Tensor]] = {"class_logits": [], "distances": [], "centerness": []}
        for scale, x in zip(self.scale, levels):
            logits, exponents, centerness = self.head(x)
            exponents = (scale * exponents).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
            outputs["class_logits"].append(logits)
            outputs["distances"].append(exponents.exp() * (image.shape[2] / x.shape[2]))
            outputs["centerness"].append(centerness)
        return outputs


def focal_loss(logits: torch.Tensor, truth: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """Computes the focal loss of each sigmoid (arXiv:1708.02002); both [...], `truth` 0 or 1."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    miss = (logits.sigmoid() - truth).abs()  # one minus the probability of the true label
    return (alpha * truth + (1 - alpha) * (1 - truth)) * miss**gamma * cross_entropy


def generalized_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Computes the generalized IoU of boxes given as distances [..., 4] from a common point."""

    def area(distances: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = distances.unbind(-1)
        return (top + bottom) * (left + right)

    intersection, hull = area(torch.minimum(a, b)), area(torch.maximum(a, b))
    union = area(a) + area(b) - intersection
    return intersection / union - (hull - union) / hull


class DetectionLoss(nn.Module):
    """Focal + box_loss * GIoU + centerness loss.

    `sizes` are the (rows, columns) of the levels over images of `shape`.
    """

    center: torch.Tensor
    stride: torch.Tensor
    min_distance: torch.Tensor
    max_distance: torch.Tensor
    classes: torch.Tensor

    def __init__(self, task: Any, shape: Sequence[int], sizes: Sequence[Sequence[int]]):
        from jaxdl.tasks.parts.fcos import locate

        super().__init__()
        for name, array in locate(shape, sizes, task.reach)._asdict().items():
            self.register_buffer(name, torch.from_numpy(array))
        self.register_buffer("classes", torch.arange(task.num_classes))
        self.radius, self.box_loss = task.center_radius, task.box_loss
        self.focal = functools.partial(focal_loss, alpha=task.alpha, gamma=task.gamma)

    @torch.no_grad()
    def assign(self, boxes: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Assigns [batch, objects, ...] to locations.

        Returns label (-1: background) and centerness [batch, locations], and distances [..., 4].
        """
        center, boxes = self.center[:, None], boxes[:, None]  # [locations, 1, 2], [batch, 1, objects, 4]
        upper, lower = boxes[..., :2], boxes[..., 2:]
        distances = torch.cat([center - upper, lower - center], dim=-1)  # [batch, locations, objects, 4]
        near = ((center - (upper + lower) / 2).abs() <= self.radius * self.stride[:, None, None]).all(-1)
        farthest = distances.amax(-1)
        fits = (farthest >= self.min_distance[:, None]) & (farthest < self.max_distance[:, None])
        candidate = near & fits & (distances.amin(-1) > 0) & (weight[:, None] > 0)
        area = (lower - upper).prod(-1)
        owner = torch.where(candidate, area, torch.inf).argmin(-1, keepdim=True)
        distances = distances.gather(2, owner[..., None].expand(-1, -1, -1, 4)).squeeze(2)
        assigned = candidate.any(-1)
        distances = torch.where(assigned[..., None], distances, 1.0)
        label = torch.where(assigned, label.gather(1, owner.squeeze(2)), -1)
        lesser, greater = torch.minimum(*distances.split(2, -1)), torch.maximum(*distances.split(2, -1))
        return label, (lesser / greater).prod(-1).sqrt(), distances

    def forward(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits, reach = (
            torch.cat([level.flatten(2) for level in outputs[name]], dim=2).transpose(1, 2)
            for name in ("class_logits", "distances")
        )
        centerness = torch.cat([level.flatten(1) for level in outputs["centerness"]], dim=1)
        label, central, distances = self.assign(batch["boxes"], batch["box_label"], batch["box_weight"])
        positive = (label >= 0).float()
        share = positive * central
        focal = self.focal(logits, (label[..., None] == self.classes).float()).sum()
        box = (share * (1 - generalized_iou(reach, distances))).sum()
        cross_entropy = functional.binary_cross_entropy_with_logits(
            centerness, central, weight=positive, reduction="sum"
        )
        return (focal + cross_entropy) / positive.sum() + self.box_loss * box / share.sum()


def detector(task: Any, shape: Sequence[int]) -> tuple[nn.Module, Callable[..., torch.Tensor]]:
    """Returns the twin of a Detector over a ResNet, and its loss."""
    from jaxdl.models.fpn import Detector
    from jaxdl.models.resnet import ResNet

    model = task.model
    if type(model) is not Detector or type(model.backbone) is not ResNet:
        raise SystemExit("the PyTorch twin of object detection is a Detector over a ResNet")
    height, width, channels = shape
    network = DetectorTwin(model, channels).eval()
    with torch.no_grad():
        levels = network(torch.zeros(1, channels, height, width))["centerness"]
    return network.train(), DetectionLoss(task, (height, width), [level.shape[1:] for level in levels])
