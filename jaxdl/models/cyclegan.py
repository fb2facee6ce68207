"""Generator and PatchGAN discriminator of CycleGAN (Zhu et al. 2017, arXiv:1703.10593).

Images are float [batch, height, width, channels] in [-1, 1]. Instance normalization keeps examples independent.

Logical axis names are those of `jaxdl.models.resnet`; channels of images and of the discriminator's outputs have none.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.layers.convolution import constrain, convolution, upsample_2x
from jaxdl.models.layers.dense import normal
from jaxdl.models.layers.norms import Normalization, group_norm
from jaxdl.models.unet import TransposedConv

Padding = Literal["zero", "reflect"]
STD = 0.02  # std of initial kernels, as in the paper


def instance_norm(
    *, train: bool, dtype: Any = jnp.float32, epsilon: float = 1e-5, name: str | None = None
) -> nn.Module:
    """Returns instance normalization with scale and bias (arXiv:1607.08022)."""
    return group_norm(train=train, dtype=dtype, group_size=1, epsilon=epsilon, name=name)


def square_conv(channels: int, size: int, *, stride: int = 1, padding: Padding = "zero", **options: Any) -> nn.Conv:
    """Returns a convolution with the padding and the initial kernels of the paper; `options` are its other arguments.

    An even size has one more pixel of padding at the bottom and right for stride 1.
    """
    before = (size - 1) // 2
    after = before if stride > 1 else size - 1 - before
    zero = ((before, after),) * 2
    options = {"kernel_init": normal(STD), "padding": "REFLECT" if padding == "reflect" else zero, **options}
    return convolution(channels, size, stride, **options)


class StyleGenerator(nn.Module):
    """ResNet generator for image translation (Johnson et al. 2016, arXiv:1603.08155).

    Submodules are `entry` (7x7), `down1`, `down2`, ... (3x3, stride 2, twice the channels), `block1`, ..., `up...` to
    `up1`, and `exit` (7x7, tanh).

    Attributes:
      width: Channels at full resolution.
      blocks: Number of residual blocks at the lowest resolution.
      levels: Number of halvings of height and width, which 2**levels must divide.
      size: Size of the first and last kernel, odd.
      residual: The output is the image plus 2 tanh, clipped to [-1, 1]; the last kernel is initially 0, so that the
        generator is the identity. Not in the paper.
      upsample: "transposed" (2x2 blocks) or "nearest" (nearest neighbour and a 3x3 convolution).
      padding: Padding of convolutions of stride 1: "reflect", as in the paper, or "zero".
      norm: Normalization factory with the signature of `instance_norm`.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    width: int = 64
    blocks: int = 6
    levels: int = 2
    size: int = 7
    residual: bool = False
    upsample: Literal["transposed", "nearest"] = "transposed"
    padding: Padding = "reflect"
    norm: Normalization = instance_norm
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Returns the translated images [batch, h, w, c] in [-1, 1]."""
        if any(side % 2**self.levels for side in image.shape[1:3]):
            raise ValueError(f"StyleGenerator(levels={self.levels}): 2**levels does not divide {image.shape[1:3]}")
        x = self._layer(image, self.width, self.size, "entry", train, input_axis=None)
        for level in range(self.levels):
            x = self._layer(x, 2 * x.shape[-1], 3, f"down{level + 1}", train, stride=2)
        for number in range(self.blocks):
            x = ResidualBlock(self.padding, self.norm, self.dtype, name=f"block{number + 1}")(x, train=train)
        for level in reversed(range(self.levels)):
            x = self._up(x, x.shape[-1] // 2, f"up{level + 1}", train)
        x = square_conv(
            image.shape[-1],
            self.size,
            padding=self.padding,
            use_bias=True,
            output_axis=None,
            kernel_init=nn.initializers.zeros if self.residual else normal(STD),
            dtype=self.dtype,
            name="exit",
        )(x)
        x = jnp.tanh(x.astype(jnp.float32))
        return jnp.clip(image + 2.0 * x, -1.0, 1.0) if self.residual else x

    def _layer(self, x: jax.Array, channels: int, size: int, name: str, train: bool, **options: Any) -> jax.Array:
        """Applies convolution, normalization and ReLU."""
        padding = "zero" if options.get("stride", 1) > 1 else self.padding
        x = square_conv(channels, size, padding=padding, dtype=self.dtype, name=name, **options)(x)
        return constrain(nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"{name}_norm")(x)))

    def _up(self, x: jax.Array, channels: int, name: str, train: bool) -> jax.Array:
        if self.upsample == "nearest":
            return self._layer(upsample_2x(x), channels, 3, name, train)
        x = TransposedConv(channels, self.dtype, name=name)(x)
        return constrain(nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"{name}_norm")(x)))


class ResidualBlock(nn.Module):
    """Residual block of two normalized 3x3 convolutions, [batch, h, w, c] -> the same shape."""

    padding: Padding
    norm: Normalization
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        for number in (1, 2):
            y = square_conv(x.shape[-1], 3, padding=self.padding, dtype=self.dtype, name=f"conv{number}")(y)
            y = self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{number}")(y)
            y = constrain(nn.relu(y) if number == 1 else y)
        return constrain(x + y)


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator (Isola et al. 2016, arXiv:1611.07004).

    [batch, h, w, c] -> logits float32 [batch, h', w', 1] with h' = h / 2**(len(channels) - 1). The receptive field is
    70x70 pixels with the four channels of the paper (default), 34x34 with three and 16x16 with two.

    Attributes:
      channels: Channels of each 4x4 convolution before the last. All but the last of these have stride 2; the first is
        not normalized.
      norm: Normalization factory with the signature of `instance_norm`.
      dtype: Computation dtype of convolutions, "float32" or "bfloat16".
    """

    channels: Sequence[int] = (64, 128, 256, 512)
    norm: Normalization = instance_norm
    dtype: Any = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        x = image
        for number, channels in enumerate(self.channels):
            x = square_conv(
                channels,
                4,
                stride=2 if number + 1 < len(self.channels) else 1,
                use_bias=number == 0,
                input_axis="channels_in" if number else None,
                dtype=self.dtype,
                name=f"conv{number + 1}",
            )(x)
            if number:
                x = self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"norm{number + 1}")(x)
            x = constrain(nn.leaky_relu(x, 0.2))
        x = square_conv(1, 4, use_bias=True, output_axis=None, dtype=self.dtype, name="judgement")(x)
        return x.astype(jnp.float32)
