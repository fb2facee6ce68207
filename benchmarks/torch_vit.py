"""Vision Transformer of `jaxdl.models.vit` in PyTorch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class AttentionTwin(nn.Module):
    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(features, features) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return self.out(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForwardTwin(nn.Module):
    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.into = nn.Linear(features, hidden)
        self.out = nn.Linear(hidden, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(functional.gelu(self.into(x), approximate="tanh"))


class BlockTwin(nn.Module):
    def __init__(self, stack: Any):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(stack.features, stack.epsilon) for _ in range(2))
        self.attention = AttentionTwin(stack.features, stack.heads)
        self.feed_forward = FeedForwardTwin(stack.features, stack.hidden or 4 * stack.features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class StackTwin(nn.Module):
    def __init__(self, stack: Any):
        super().__init__()
        for index in range(stack.layers):
            self.add_module(f"block_{index}", BlockTwin(stack))
        self.blocks = list(self.children())
        self.norm_out = nn.LayerNorm(stack.features, stack.epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)


class VisionTransformerTwin(nn.Module):
    """PyTorch twin of `jaxdl.models.vit.VisionTransformer` with tanh GELU, mean pooling and sinusoidal positions.

    [batch, channels, height, width] -> logits [batch, classes].
    """

    def __init__(self, model: Any, shape: Sequence[int]):
        from jaxdl.models.layers.posemb import grid_waves
        from jaxdl.models.transformer import tanh_gelu

        super().__init__()
        if (model.pool, model.positions, model.stack.activation) != ("mean", "sinusoidal", tanh_gelu):
            raise SystemExit("the PyTorch twin of ViT has mean pooling, sinusoidal positions and tanh GELU only")
        height, width, channels = shape
        self.patch, features = model.patch, model.stack.features
        self.entry = nn.Linear(self.patch**2 * channels, features)
        self.positions = torch.from_numpy(grid_waves(height // self.patch, width // self.patch, features))
        self.stack = StackTwin(model.stack)
        self.head = nn.Linear(features, model.num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = image.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)  # [b, c, h, w, p, p]
        tokens = patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
        return self.head(self.stack(self.entry(tokens) + self.positions).mean(1))
