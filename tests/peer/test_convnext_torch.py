"""ConvNeXt against Hugging Face transformers, with random weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.convnext import ConvNeXt

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")

pytestmark = pytest.mark.peer

LAYERS = {"dwconv": "depthwise_conv", "layernorm": "norm", "pwconv1": "expand", "pwconv2": "project"}


def from_transformers(weights):
    """Converts the state dict of `ConvNextForImageClassification` to jaxdl parameters.

    Args:
      weights: {name: array}. Convolutions [out, in, height, width], linear layers [out, in].
    """
    params = {}
    for name, value in weights.items():
        path = _place(name.split("."))
        if path[-1] == "kernel":
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        tree = params
        for part in path[:-1]:
            tree = tree.setdefault(part, {})
        tree[path[-1]] = jnp.asarray(value)
    return {"params": params}


def _place(where):
    """Maps the path of a transformers parameter to the jaxdl path."""
    last = "bias" if where[-1] == "bias" else "kernel"
    scale = "bias" if where[-1] == "bias" else "scale"
    if where[0] == "classifier":
        return ("head", "classifier", last)
    if where[1] == "layernorm":
        return ("head", "norm", scale)
    if where[1] == "embeddings":
        return ("stem", "norm", scale) if where[2] == "layernorm" else ("stem", "conv", last)
    stage = f"stage{int(where[3]) + 1}"
    if where[4] == "downsampling_layer":
        return (stage, "downsample_norm", scale) if where[5] == "0" else (stage, "downsample", last)
    block = (stage, f"block{int(where[5]) + 1}")
    if where[6] == "layer_scale_parameter":
        return (*block, "layer_scale")
    return (*block, LAYERS[where[6]], scale if where[6] == "layernorm" else last)


@pytest.mark.parametrize("depthwise", ["shifted", "convolution"])
def test_convnext_matches_transformers(depthwise):
    torch.manual_seed(0)
    config = transformers.ConvNextConfig(
        num_labels=7, hidden_sizes=[16, 24, 32, 40], depths=[1, 2, 1, 1], patch_size=2, layer_norm_eps=1e-6
    )
    peer = transformers.ConvNextForImageClassification(config)
    peer.eval()
    with torch.no_grad():
        for name, tensor in peer.named_parameters():
            if name.endswith("layer_scale_parameter") or ("norm" in name and name.endswith("weight")):
                tensor.uniform_(0.7, 1.3)
            elif name.endswith("bias"):
                tensor.normal_(0.0, 0.1)
            else:
                tensor.normal_(0.0, tensor[0].numel() ** -0.5)
    image = np.random.default_rng(0).normal(size=(2, 34, 48, 3)).astype(np.float32)
    with torch.no_grad():
        peer_logits = peer(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).logits.numpy()

    model = ConvNeXt((1, 2, 1, 1), 7, channels=(16, 24, 32, 40), patch=2, depthwise=depthwise)
    variables = from_transformers({name: tensor.numpy() for name, tensor in peer.state_dict().items()})
    expected = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, nn.meta.unbox(expected))
    logits = jax.jit(lambda image: model.apply(variables, image, train=False))(image)
    assert np.abs(peer_logits).max() > 0.1
    np.testing.assert_allclose(logits, peer_logits, atol=1e-4, rtol=1e-4)
