"""Acoustic model of speech recognition (Deep Speech 2, arXiv:1512.02595)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.layers.dense import dense
from jaxdl.models.layers.recurrence import Array
from jaxdl.models.rnn import LSTM, Cell, Stack


class SpeechRecognizer(nn.Module):
    """Acoustic model of strided convolutions and bidirectional recurrent layers.

    Attributes:
      vocabulary: Number of tokens, with the blank as token 0.
      features: Width of every recurrent layer, in one direction.
      channels: Channels of each convolution; each has stride 2.
      kernel: Kernel size of the convolutions.
      layers: Number of recurrent layers.
      cell: Class of the recurrent layers.
      dropout: Dropout rate after each convolution, between layers and before the head.
    """

    vocabulary: int
    features: int
    channels: Sequence[int] = (256, 256)
    kernel: int = 5
    layers: int = 2
    cell: type[Cell] = LSTM
    dropout: float = 0.0

    @nn.compact
    def __call__(self, frames: Array, *, length: Array, train: bool) -> tuple[Array, Array]:
        """Returns logits float32 [batch, steps, vocabulary] and valid steps int32 [batch].

        Args:
          frames: [batch, time, mels].
          length: int32 [batch], the number of valid frames.
          train: Whether dropout is active. It draws from the key "dropout".
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = frames
        for number, channels in enumerate(self.channels):
            # Padding is zeroed, as before the start, because it is inside the receptive field of the last steps.
            x = jnp.where((jnp.arange(x.shape[1])[None] < length[:, None])[..., None], x, 0)
            x = dense(channels, name=f"conv{number + 1}")(neighbours(x, self.kernel, stride=2))
            x = nn.relu(nn.LayerNorm(name=f"norm{number + 1}")(x))
            x, length = drop(x), (length + 1) // 2
        stack = Stack(self.features, self.layers, self.cell, bidirectional=True, dropout=self.dropout, name="stack")
        x, _ = stack(x, length=length, train=train)
        return dense(self.vocabulary, ("embed", "vocab"), name="head")(drop(x)), length


def neighbours(x: Array, kernel: int, stride: int) -> Array:
    """Extracts patches, [batch, time, c] -> [batch, ceil(time / stride), kernel * c].

    A dense layer on them is a convolution with padding on both sides, on CPU several times faster than XLA's.
    """
    batch, time, channels = x.shape
    steps = -(-time // stride)
    before = (kernel - 1) // 2
    padded = jnp.pad(x, ((0, 0), (before, kernel + stride), (0, 0)))
    taps = [padded[:, offset : offset + steps * stride : stride] for offset in range(kernel)]
    return jnp.concatenate(taps, axis=-1).reshape(batch, steps, kernel * channels)
