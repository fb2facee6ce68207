"""Diffusion U-Net and DiT block against diffusers, with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.models.dit import DiTBlock

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
diffusers = pytest.importorskip("diffusers", reason="the peer extra is not installed: diffusers")

pytestmark = pytest.mark.peer

ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out": "out"}


def with_weights(tree, weights, place):
    """Replaces the arrays of `tree` by named diffusers weights; checks that all are used."""
    params = jax.tree.map(np.array, tree)
    replaced = 0
    for name, value in weights.items():
        *path, last = place(name.split("."))
        node = params
        for part in path:
            node = node[part]
        if last == "weight":
            last = "kernel" if "kernel" in node else "scale"
        if last == "kernel":
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        assert node[last].shape == value.shape, name
        node[last] = value
        replaced += 1
    assert replaced == len(jax.tree.leaves(tree))
    return params


def unet_place(where):
    module, last = where[0], where[-1]
    plain = {"conv_in": "entry", "conv_out": "final", "conv_norm_out": "norm"}
    if module in plain:
        return plain[module], last
    if module == "time_embedding":
        return "condition", {"linear_1": "level1", "linear_2": "level2"}[where[1]], last
    if module == "mid_block":
        block = f"middle{int(where[2]) + 1}" if where[1] == "resnets" else "middle_attention"
        return (block, *inner(where[3:]))
    level = int(where[1]) + 1 if module == "down_blocks" else 2 - int(where[1])
    way = "down" if module == "down_blocks" else "up"
    if where[2] in ("downsamplers", "upsamplers"):
        return f"{'halve' if way == 'down' else 'double'}{level}", last
    number = int(where[3]) + 1
    block = f"{way}{level}_{number}" if where[2] == "resnets" else f"{way}{level}_attention{number}"
    return (block, *inner(where[4:]))


def inner(where):
    """Maps a path within a residual block or an attention."""
    if where[0] == "group_norm":
        return "norm", where[-1]
    if where[0] in ATTENTION:
        return "attention", ATTENTION[where[0]], where[-1]
    return {"time_emb_proj": "condition", "conv_shortcut": "shortcut"}.get(where[0], where[0]), where[-1]


def test_the_unet_matches_diffusers():
    torch.manual_seed(0)
    peer = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        attention_head_dim=64,
        norm_num_groups=8,
    ).eval()
    network = DiffusionUNet(outputs=3, channels=(32, 64), attention=(False, True), groups=8, epsilon=1e-5)
    random = np.random.default_rng(0)
    image = random.normal(size=(2, 16, 16, 3)).astype(np.float32)
    level = np.array([3.0, 700.0], np.float32)
    params = jax.jit(lambda: network.init(jax.random.key(0), jnp.asarray(image), jnp.asarray(level), train=False))()
    weights = {name: value.numpy() for name, value in peer.state_dict().items()}
    plain = jax.tree.map(lambda leaf: leaf.value, params["params"], is_leaf=lambda leaf: hasattr(leaf, "value"))
    params = {"params": with_weights(plain, weights, unet_place)}
    with torch.no_grad():
        expected = peer(torch.from_numpy(image.transpose(0, 3, 1, 2)), torch.from_numpy(level)).sample.numpy()
    output = jax.jit(lambda params: network.apply(params, image, level, train=False))(params)
    np.testing.assert_allclose(output, expected.transpose(0, 2, 3, 1), atol=1e-4)
    assert np.std(expected) > 0.1


def dit_place(where):
    if where[0] == "norm1":
        return "modulation", where[-1]
    if where[0] == "attn1":
        return "attention", ATTENTION[where[1]], where[-1]
    return {"0": "mlp1", "2": "mlp2"}[where[2]], where[-1]


def test_a_dit_block_matches_diffusers():
    from diffusers.models.attention import BasicTransformerBlock

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 9, 32)).astype(np.float32)
    condition = random.normal(size=(2, 32)).astype(np.float32)
    peer = BasicTransformerBlock(
        32,
        num_attention_heads=4,
        attention_head_dim=8,
        num_embeds_ada_norm=5,
        attention_bias=True,
        activation_fn="gelu-approximate",
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
    ).eval()

    class Conditioned(torch.nn.Module):
        def forward(self, *arguments, **options):
            return torch.from_numpy(condition)

    peer.norm1.emb = Conditioned()
    block = DiTBlock(heads=4, expansion=4)
    params = block.init(jax.random.key(0), jnp.asarray(x), jnp.asarray(condition))
    plain = jax.tree.map(lambda leaf: leaf.value, params["params"], is_leaf=lambda leaf: hasattr(leaf, "value"))
    weights = {name: value.numpy() for name, value in peer.state_dict().items()}
    params = {"params": with_weights(plain, weights, dit_place)}
    with torch.no_grad():
        expected = peer(
            torch.from_numpy(x), timestep=torch.zeros(2), class_labels=torch.zeros(2, dtype=torch.long)
        ).numpy()
    np.testing.assert_allclose(block.apply(params, x, condition), expected, atol=1e-4)
