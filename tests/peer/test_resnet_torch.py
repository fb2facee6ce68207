"""ResNet-50 against Hugging Face transformers, with random weights and batch statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.resnet import resnet50

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")

pytestmark = pytest.mark.peer


def from_transformers(weights):
    """Converts the state dict of `ResNetForImageClassification` to variables.

    Blocks are bottlenecks; returns {params, batch_stats}.

    Args:
      weights: {name: array}. Convolutions [out, in, height, width], the classifier [classes, features].
    """
    variables = {"params": {}, "batch_stats": {}}
    parts = {"weight": ("params", "scale"), "bias": ("params", "bias")}
    parts |= {"running_mean": ("batch_stats", "mean"), "running_var": ("batch_stats", "var")}

    def put(collection, path, value):
        tree = variables[collection]
        for name in path[:-1]:
            tree = tree.setdefault(name, {})
        tree[path[-1]] = jnp.asarray(value)

    for name, value in weights.items():
        *where, kind, last = name.split(".")
        if last == "num_batches_tracked":
            continue
        if name.startswith("classifier"):
            put("params", ("head", "kernel" if last == "weight" else "bias"), value.T)
            continue
        path, conv, norm = _place(where)
        if kind == "convolution":
            put("params", (*path, conv, "kernel"), value.transpose(2, 3, 1, 0))
        else:
            collection, variable = parts[last]
            put(collection, (*path, norm, variable), value)
    return variables


def _place(where):
    """Maps the path of a transformers module to (jaxdl path, convolution name, norm name)."""
    if where[1] == "embedder":
        return ("stem",), "conv", "norm"
    _, _, _, stage, _, layer, *inner = where
    path = (f"stage{int(stage) + 1}", f"block{int(layer) + 1}")
    if inner == ["shortcut"]:
        return path, "shortcut", "shortcut_norm"
    number = int(inner[1]) + 1
    return path, f"conv{number}", f"norm{number}"


def test_resnet50_matches_transformers():
    torch.manual_seed(0)
    peer = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
    peer.eval()
    with torch.no_grad():
        for name, tensor in [*peer.named_parameters(), *peer.named_buffers()]:
            if name.endswith("running_mean"):
                tensor.normal_(0.0, 0.2)
            elif name.endswith("running_var") or ("normalization" in name and name.endswith("weight")):
                tensor.uniform_(0.7, 1.3)
            elif name.endswith("bias"):
                tensor.normal_(0.0, 0.1)
    weights = {name: tensor.numpy() for name, tensor in peer.state_dict().items()}
    image = np.random.default_rng(0).normal(size=(2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        peer_logits = peer(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).logits.numpy()

    model = resnet50()
    variables = from_transformers(weights)
    expected = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)), train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 25_557_032
    assert len(jax.tree.leaves(variables)) == len(jax.tree.leaves(expected))
    logits = jax.jit(lambda image: model.apply(variables, image, train=False))(image)
    assert np.abs(peer_logits).max() > 0.1
    np.testing.assert_allclose(logits, peer_logits, atol=1e-4, rtol=1e-4)
