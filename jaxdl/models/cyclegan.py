"""Networks that translate images between two styles: CycleGAN's (Zhu et al. 2017, arXiv:1703.10593).

`StyleGenerator`, a ResNet between strided convolutions (Johnson et al. 2016, arXiv:1603.08155), and
`PatchDiscriminator` (Isola et al. 2016, arXiv:1611.07004), which judges patches, not whole images. Images are float
[batch, height, width, channels], white 1 and black -1. Norms keep examples apart: `instance_norm`.

Logical axis names as in `jaxdl.models.resnet`; the channels of an image and of a judgement have none.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.spmd import with_logical_constraint

from jaxdl.models.layers.convolution import constrain, upsample_2x
from jaxdl.models.layers.dense import normal
from jaxdl.models.layers.norms import Normalization, group_norm
from jaxdl.models.unet import TransposedConv

Padding = Literal["zero", "reflect"]
DEVIATION = 0.02  # of drawn kernels, as in the paper


def instance_norm(
    *, train: bool, dtype: Any = jnp.float32, epsilon: float = 1e-5, name: str | None = None
) -> nn.Module:
    """Each channel of each example by itself (Ulyanov et al. 2016, arXiv:1607.08022); with scale and bias."""
    return group_norm(train=train, dtype=dtype, group_size=1, epsilon=epsilon, name=name)


class StyleGenerator(nn.Module):
    """An image of one style in, the same of the other style out, of the same size.

    Sub-modules: `entry` (7x7), `down1`, `down2`, ... (3x3, stride 2, twice the channels), `block1`, ..., then `up...`
    down to `up1`, and `exit` (7x7, tanh).

    Attributes:
      width: channels at full resolution.
      blocks: residual blocks at the lowest resolution.
      levels: how often height and width are halved; 2**levels must divide them.
      size: of the first and the last kernel, odd.
      residual: put out the image plus twice what tanh gives, cut off at -1 and 1, with a last kernel of zeros: the
        generator starts as the identity. Not in the paper.
      upsample: "transposed" (2x2 blocks) or "nearest" (nearest neighbour and a 3x3 convolution).
      padding: "reflect", as in the paper, or "zero", for all convolutions of stride 1.
      norm: factory with the signature of `instance_norm`.
      dtype: what convolutions compute in, "float32" or "bfloat16".
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
        """image [batch, h, w, c] in -1..1 -> [batch, h, w, c] in -1..1."""
        if any(side % 2**self.levels for side in image.shape[1:3]):
            raise ValueError(f"StyleGenerator(levels={self.levels}) cannot halve images of {image.shape[1:3]} so often")
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
            kernel_init=nn.initializers.zeros if self.residual else normal(DEVIATION),
            dtype=self.dtype,
            name="exit",
        )(x)
        x = jnp.tanh(x.astype(jnp.float32))
        return jnp.clip(image + 2.0 * x, -1.0, 1.0) if self.residual else x

    def _layer(self, x: jax.Array, channels: int, size: int, name: str, train: bool, **options: Any) -> jax.Array:
        """Convolution, norm, relu."""
        padding = "zero" if options.get("stride", 1) > 1 else self.padding
        x = square_conv(channels, size, padding=padding, dtype=self.dtype, name=name, **options)(x)
        return constrain(nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"{name}_norm")(x)))

    def _up(self, x: jax.Array, channels: int, name: str, train: bool) -> jax.Array:
        if self.upsample == "nearest":
            return self._layer(upsample_2x(x), channels, 3, name, train)
        x = TransposedConv(channels, self.dtype, name=name)(x)
        return constrain(nn.relu(self.norm(train=train, dtype=jnp.dtype(self.dtype), name=f"{name}_norm")(x)))


class ResidualBlock(nn.Module):
    """x plus convolution, norm, relu, convolution, norm of x. [batch, h, w, c] -> the same shape."""

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
    """How real each patch of an image is: 4x4 convolutions, leaky relu, a judgement a position.

    [batch, h, w, c] -> float32 [batch, h', w', 1], where h' = h / 2**(len(channels) - 1). With the four channels below,
    those of the paper, a judgement sees 70x70 pixels; with three 34x34, with two 16x16.

    Attributes:
      channels: of each convolution before the last; all but the last of these have stride 2. The first has no norm.
      norm: factory with the signature of `instance_norm`.
      dtype: what convolutions compute in, "float32" or "bfloat16".
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


def square_conv(
    channels: int,
    size: int,
    *,
    stride: int = 1,
    padding: Padding = "zero",
    use_bias: bool = False,
    input_axis: str | None = "channels_in",
    output_axis: str | None = "channels",
    kernel_init: nn.initializers.Initializer | None = None,
    dtype: Any,
    name: str,
) -> nn.Conv:
    """[batch, h, w, c] -> [batch, h / stride, w / stride, channels] by a kernel that is gathered before use.

    Args:
      size: of the kernel; an even one is padded by one pixel more below and at the right, if the stride is 1.
      input_axis, output_axis: logical names of the kernel's channels.
    """

    def convolve(x: jax.Array, kernel: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
        kernel = with_logical_constraint(kernel, (None, None, None, output_axis))  # see cnn.convolve_gathered
        return jax.lax.conv_general_dilated(x, kernel, *arguments, **options)

    before = (size - 1) // 2
    after = before if stride > 1 else size - 1 - before
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding="REFLECT" if padding == "reflect" else ((before, after),) * 2,
        use_bias=use_bias,
        dtype=jnp.dtype(dtype),
        kernel_init=nn.with_logical_partitioning(
            kernel_init or normal(DEVIATION), (None, None, input_axis, output_axis)
        ),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (output_axis,)),
        conv_general_dilated=convolve,
        name=name,
    )
