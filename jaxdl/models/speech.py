"""From the frames of a recording to characters: strided convolutions, then recurrent layers in both directions."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.layers.dense import dense
from jaxdl.models.layers.recurrence import Array
from jaxdl.models.rnn import LSTM, Cell, Stack


class SpeechRecognizer(nn.Module):
    """Convolutions over time that shorten it, and a bidirectional stack (Amodei et al. 2015, arXiv:1512.02595).

    Attributes:
      vocabulary: characters, and the blank as number 0.
      features: of every recurrent layer, in one direction.
      channels: of each convolution; every one halves the time.
      kernel: steps that a convolution sees.
      layers: recurrent ones.
      cell: their class.
      dropout: rate after each convolution, between the layers and before the logits.
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
        """frames float [batch, time, mels], length int32 [batch] -> logits float32 [batch, steps, vocabulary] and their
        lengths int32 [batch]. Draws from "dropout" in training."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = frames
        for number, channels in enumerate(self.channels):
            # What is behind the end must be 0, as it is in front of the start, or the last steps would see padding.
            x = jnp.where((jnp.arange(x.shape[1])[None] < length[:, None])[..., None], x, 0)
            x = dense(channels, name=f"conv{number + 1}")(neighbours(x, self.kernel, stride=2))
            x = nn.relu(nn.LayerNorm(name=f"norm{number + 1}")(x))
            x, length = drop(x), (length + 1) // 2
        stack = Stack(self.features, self.layers, self.cell, bidirectional=True, dropout=self.dropout, name="stack")
        x, _ = stack(x, length=length, train=train)
        return dense(self.vocabulary, ("embed", "vocab"), name="head")(drop(x)), length


def neighbours(x: Array, kernel: int, stride: int) -> Array:
    """Every `stride`-th step with those around it: [batch, time, c] -> [batch, ceil(time / stride), kernel * c].

    A dense layer on it is a convolution with padding on both sides. On CPU that is several times faster than XLA's own.
    """
    batch, time, channels = x.shape
    steps = -(-time // stride)
    before = (kernel - 1) // 2
    padded = jnp.pad(x, ((0, 0), (before, kernel + stride), (0, 0)))
    taken = [padded[:, offset : offset + steps * stride : stride] for offset in range(kernel)]
    return jnp.concatenate(taken, axis=-1).reshape(batch, steps, kernel * channels)
