"""Our diffusion U-Net and DiT block against those of diffusers, with random weights."""

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


def planted(tree, weights, place):
    """`tree` with its arrays replaced by the named weights of theirs, all of which must find their place."""
    made = jax.tree.map(np.array, tree)
    found = 0
    for name, value in weights.items():
        *path, last = place(name.split("."))
        node = made
        for part in path:
            node = node[part]
        if last == "weight":
            last = "kernel" if "kernel" in node else "scale"
        if last == "kernel":
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        assert node[last].shape == value.shape, name
        node[last] = value
        found += 1
    assert found == len(jax.tree.leaves(tree))
    return made


def unet_place(where):
    first, last = where[0], where[-1]
    plain = {"conv_in": "entry", "conv_out": "final", "conv_norm_out": "norm"}
    if first in plain:
        return plain[first], last
    if first == "time_embedding":
        return "condition", {"linear_1": "level1", "linear_2": "level2"}[where[1]], last
    if first == "mid_block":
        block = f"middle{int(where[2]) + 1}" if where[1] == "resnets" else "middle_attention"
        return (block, *inner(where[3:]))
    level = int(where[1]) + 1 if first == "down_blocks" else 2 - int(where[1])
    way = "down" if first == "down_blocks" else "up"
    if where[2] in ("downsamplers", "upsamplers"):
        return f"{'halve' if way == 'down' else 'double'}{level}", last
    number = int(where[3]) + 1
    block = f"{way}{level}_{number}" if where[2] == "resnets" else f"{way}{level}_attention{number}"
    return (block, *inner(where[4:]))


def inner(where):
    """Within a residual block or an attention."""
    if where[0] == "group_norm":
        return "norm", where[-1]
    if where[0] in ATTENTION:
        return "attention", ATTENTION[where[0]], where[-1]
    return {"time_emb_proj": "condition", "conv_shortcut": "shortcut"}.get(where[0], where[0]), where[-1]


def test_the_unet_gives_the_output_of_diffusers():
    torch.manual_seed(0)
    theirs = diffusers.UNet2DModel(
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
    ours = DiffusionUNet(outputs=3, channels=(32, 64), attention=(False, True), groups=8, epsilon=1e-5)
    random = np.random.default_rng(0)
    image = random.normal(size=(2, 16, 16, 3)).astype(np.float32)
    level = np.array([3.0, 700.0], np.float32)
    params = jax.jit(lambda: ours.init(jax.random.key(0), jnp.asarray(image), jnp.asarray(level), train=False))()
    weights = {name: value.numpy() for name, value in theirs.state_dict().items()}
    plain = jax.tree.map(lambda leaf: leaf.value, params["params"], is_leaf=lambda leaf: hasattr(leaf, "value"))
    params = {"params": planted(plain, weights, unet_place)}
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2)), torch.from_numpy(level)).sample.numpy()
    found = jax.jit(lambda params: ours.apply(params, image, level, train=False))(params)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), atol=1e-4)
    assert np.std(expected) > 0.1


def dit_place(where):
    if where[0] == "norm1":
        return "modulation", where[-1]
    if where[0] == "attn1":
        return "attention", ATTENTION[where[1]], where[-1]
    return {"0": "mlp1", "2": "mlp2"}[where[2]], where[-1]


def test_a_dit_block_gives_the_output_of_diffusers():
    from diffusers.models.attention import BasicTransformerBlock

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 9, 32)).astype(np.float32)
    condition = random.normal(size=(2, 32)).astype(np.float32)
    theirs = BasicTransformerBlock(
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

    class Told(torch.nn.Module):
        def forward(self, *arguments, **options):
            return torch.from_numpy(condition)

    theirs.norm1.emb = Told()
    ours = DiTBlock(heads=4, expansion=4)
    params = ours.init(jax.random.key(0), jnp.asarray(x), jnp.asarray(condition))
    plain = jax.tree.map(lambda leaf: leaf.value, params["params"], is_leaf=lambda leaf: hasattr(leaf, "value"))
    weights = {name: value.numpy() for name, value in theirs.state_dict().items()}
    params = {"params": planted(plain, weights, dit_place)}
    with torch.no_grad():
        expected = theirs(
            torch.from_numpy(x), timestep=torch.zeros(2), class_labels=torch.zeros(2, dtype=torch.long)
        ).numpy()
    np.testing.assert_allclose(ours.apply(params, x, condition), expected, atol=1e-4)
