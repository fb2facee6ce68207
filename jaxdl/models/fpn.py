"""Feature pyramid network (FPN, arXiv:1612.03144) and FCOS detector (arXiv:1904.01355).

A backbone is a module with a method `scales(image, *, train) -> ([batch, h_i, w_i, c_i], ...)`, finest first, such as
`ResNet` and `ConvNeXt`. Each scale halves the height and width of the one before, rounded up or down.

Logical axis names are those of `jaxdl.models.resnet`; the output channels of a head's last convolutions are "classes".
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.convnet import ConvStage
from jaxdl.models.layers.convolution import constrain, convolution, upsample_2x
from jaxdl.models.layers.dense import Activation, normal
from jaxdl.models.layers.norms import Normalization, group_norm

# Initial class probability, so that background locations do not dominate the loss (arXiv:1708.02002).
PRIOR = 0.01

# Distances are limited to exp(-8) to exp(8) = 2981 strides, so that they are finite if the network diverges.
LARGEST_EXPONENT = 8.0


def upsample_to(x: jax.Array, fine: jax.Array) -> jax.Array:
    """Upsamples x to the size of `fine`, twice its own up to one pixel, by nearest neighbour.

    Raises:
      ValueError: `fine` has another size.
    """
    (height, width), doubled = fine.shape[1:3], upsample_2x(x)
    rows, columns = height - doubled.shape[1], width - doubled.shape[2]
    if max(abs(rows), abs(columns)) > 1:
        raise ValueError(
            f"FeaturePyramid: scales have sizes {fine.shape[1:3]} and {x.shape[1:3]}; each must halve the one before"
        )
    if rows > 0 or columns > 0:  # the coarser scale dropped the last row or column
        doubled = jnp.pad(doubled, ((0, 0), (0, max(rows, 0)), (0, max(columns, 0)), (0, 0)), mode="edge")
    return doubled[:, :height, :width]


class FeaturePyramid(nn.Module):
    """Feature pyramid network: lateral 1x1, top-down sums and 3x3 convolutions.

    scales ([batch, h_i, w_i, c_i], ...), finest first -> ([batch, h_i, w_i, channels], ...), followed by
    `extra_levels`, each half as high and wide (rounded up) as the one before.

    Attributes:
      channels: Channels of every level.
      extra_levels: Number of coarser levels by 3x3 convolutions of stride 2, with an activation between them.
      norm: Normalization factory (see `jaxdl.models.layers.norms`).
      activation: Activation between extra levels.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    channels: int = 64
    extra_levels: int = 0
    norm: Normalization = group_norm
    activation: Activation = nn.relu
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, scales: Sequence[jax.Array], *, train: bool) -> tuple[jax.Array, ...]:
        def conv_norm(x: jax.Array, size: int, stride: int, name: str, number: int) -> jax.Array:
            x = convolution(self.channels, size, stride, dtype=self.dtype, name=f"{name}{number}")(x)
            return constrain(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"{name}_norm{number}")(x))

        sums = [conv_norm(scale, 1, 1, "lateral", number + 1) for number, scale in enumerate(scales)]
        for index in reversed(range(len(sums) - 1)):
            sums[index] = sums[index] + upsample_to(sums[index + 1], sums[index])
        levels = [conv_norm(x, 3, 1, "output", number + 1) for number, x in enumerate(sums)]
        for number in range(self.extra_levels):
            x = self.activation(levels[-1]) if number else levels[-1]
            levels.append(conv_norm(x, 3, 2, "extra", number + 1))
        return tuple(levels)


def predictor(outputs: int, bias: float, name: str) -> nn.Conv:
    """Returns the last 3x3 convolution of a head, with float32 outputs."""
    return nn.Conv(
        outputs,
        (3, 3),
        padding=((1, 1), (1, 1)),
        dtype=jnp.float32,
        kernel_init=nn.with_logical_partitioning(normal(0.01), (None, None, "channels_in", "classes")),
        bias_init=nn.with_logical_partitioning(nn.initializers.constant(bias), ("classes",)),
        name=name,
    )


class DetectorHead(nn.Module):
    """FCOS head shared by all levels, with towers for classes and boxes.

    x [batch, h, w, channels] -> class logits [batch, h, w, classes], log distances [batch, h, w, 4] and centerness
    logits [batch, h, w], all float32.
    """

    num_classes: int
    channels: int
    depth: int
    norm: Normalization
    activation: Activation
    dtype: Any

    def setup(self):
        options = ("none", False, "channels_in", self.norm, self.activation, self.dtype)
        self.class_tower = ConvStage(self.channels, self.depth, *options)
        self.box_tower = ConvStage(self.channels, self.depth, *options)
        self.class_predictor = predictor(self.num_classes, -math.log((1 - PRIOR) / PRIOR), "class_logits")
        self.distance_predictor = predictor(4, 0.0, "distances")
        self.centerness_predictor = predictor(1, 0.0, "centerness")

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
        boxes = self.box_tower(x, train=train)
        class_logits = self.class_predictor(self.class_tower(x, train=train))
        return class_logits, self.distance_predictor(boxes), self.centerness_predictor(boxes)[..., 0]


class Detector(nn.Module):
    """FCOS detector: backbone, feature pyramid and a shared head.

    Submodules are `backbone`, `pyramid` and `head`. The parameter `scale` [levels] multiplies each level's log
    distances.

    Attributes:
      num_classes: Number of classes.
      backbone: Module with `scales` (see the module docstring). Stages after `levels` get no gradient; omit them.
      levels: Index of the first and last stage used, inclusive, from 0: (1, 3) is stage2, stage3, stage4.
      extra_levels: Number of coarser levels beyond the last stage.
      channels: Channels of pyramid and head.
      head_depth: Number of convolutions per tower.
      norm: Normalization factory of pyramid and head. Batch normalization would share statistics between levels.
      activation: Activation in the head and between extra levels.
      dtype: Computation dtype of pyramid and towers, "float32" or "bfloat16".
    """

    num_classes: int
    backbone: nn.Module
    levels: tuple[int, int] = (1, 3)
    extra_levels: int = 0
    channels: int = 64
    head_depth: int = 2
    norm: Normalization = group_norm
    activation: Activation = nn.relu
    dtype: Any = "float32"

    def setup(self):
        first, last = self.levels
        if not 0 <= first <= last:
            raise ValueError(f"Detector: levels={self.levels} must be (first, last) with 0 <= first <= last")
        options = (self.norm, self.activation, self.dtype)
        self.pyramid = FeaturePyramid(self.channels, self.extra_levels, *options)
        self.head = DetectorHead(self.num_classes, self.channels, self.head_depth, *options)
        scale_init = nn.with_logical_partitioning(nn.initializers.ones, (None,))
        self.scale = self.param("scale", scale_init, (last - first + 1 + self.extra_levels,))

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, tuple[jax.Array, ...]]:
        """Returns float32 outputs of images [batch, h, w, c] per level, finest first.

        Returns:
          `class_logits` [batch, h_l, w_l, classes]; `distances` [batch, h_l, w_l, 4] in pixels from the location ((i +
          0.5) * stride, (j + 0.5) * stride) to the (top, left, bottom, right) sides of the box, where stride = h / h_l;
          `centerness` [batch, h_l, w_l], logits.
        """
        first, last = self.levels
        scales = self.backbone.scales(image, train=train)  # pyright: ignore[reportAttributeAccessIssue]
        if last >= len(scales):
            raise ValueError(f"Detector: levels={self.levels}, but the backbone has {len(scales)} stages, from 0")
        scale, class_logits, distances, centerness = jnp.asarray(self.scale), [], [], []
        for number, x in enumerate(self.pyramid(scales[first : last + 1], train=train)):
            logits, exponents, center = self.head(x, train=train)
            exponents = jnp.clip(scale[number] * exponents, -LARGEST_EXPONENT, LARGEST_EXPONENT)
            class_logits.append(logits)
            distances.append(jnp.exp(exponents) * (image.shape[1] / x.shape[1]))
            centerness.append(center)
        outputs = {"class_logits": class_logits, "distances": distances, "centerness": centerness}
        return {name: tuple(arrays) for name, arrays in outputs.items()}
