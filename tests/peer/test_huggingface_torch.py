"""Weights are exchanged with Hugging Face transformers; the logits are equal."""

import json

import jax
import numpy as np
import pytest

from jaxdl.interop.huggingface.resnet import read_resnet, write_resnet
from jaxdl.models.resnet import ResNet

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")
pytest.importorskip("safetensors", reason="the peer extra is not installed: safetensors")

pytestmark = pytest.mark.peer

NAMES = ["Abyssinian", "Beagle", "Bengal", "Boxer", "Chihuahua"]


def theirs(layer_type):
    """Returns a small transformers ResNet with random weights and batch statistics."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[32, 64, 128] if layer_type == "bottleneck" else [8, 16, 32],
        depths=[1, 2, 1],
        layer_type=layer_type,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    model = transformers.ResNetForImageClassification(config).eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_mean"):
                tensor.normal_(0.0, 0.2)
            elif name.endswith("running_var") or ("normalization" in name and name.endswith("weight")):
                tensor.uniform_(0.7, 1.3)
            elif name.endswith("bias"):
                tensor.normal_(0.0, 0.1)
    return model


def their_logits(model, image):
    with torch.no_grad():
        return model(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).logits.numpy()


def our_logits(pretrained, image):
    variables = {"params": pretrained.params, "batch_stats": pretrained.batch_stats}
    model = ResNet(**pretrained.arguments)
    return jax.jit(lambda image: model.apply(variables, image, train=False))(image)


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
@pytest.mark.parametrize("shards", [False, True])
def test_a_round_trip_preserves_the_logits(tmp_path, layer_type, shards):
    peer = theirs(layer_type)
    peer.save_pretrained(tmp_path / "theirs", **({"max_shard_size": "100KB"} if shards else {}))
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists() == shards
    image = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    expected = their_logits(peer, image)
    assert np.abs(expected).max() > 0.1

    pretrained = read_resnet(tmp_path / "theirs")
    assert pretrained.names == tuple(NAMES)
    np.testing.assert_allclose(our_logits(pretrained, image), expected, atol=1e-4, rtol=1e-4)

    model = ResNet(**pretrained.arguments)
    write_resnet(tmp_path / "ours", model, pretrained.params, pretrained.batch_stats, pretrained.names)
    back, report = transformers.ResNetForImageClassification.from_pretrained(
        tmp_path / "ours", local_files_only=True, output_loading_info=True
    )
    assert not any(report.values()), report
    assert back.config.id2label == dict(enumerate(NAMES))
    assert back.dtype == torch.float32
    np.testing.assert_array_equal(their_logits(back.eval(), image), expected)


def test_half_precision_weights_are_read(tmp_path):
    peer = theirs("basic").to(torch.bfloat16)
    peer.save_pretrained(tmp_path)
    image = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    pretrained = read_resnet(tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(pretrained.params)} == {np.dtype(np.float32)}
    expected = their_logits(peer.to(torch.float32), image)
    np.testing.assert_allclose(our_logits(pretrained, image), expected, atol=1e-4, rtol=1e-4)


def test_an_exported_image_processor_normalizes_like_the_task(tmp_path):
    import fiddle as fdl
    from PIL import Image

    from jaxdl.commands.export import PREPROCESSOR, _preprocessor
    from jaxdl.tasks.image_classification import ImageClassification
    from jaxdl.tasks.parts.pixels import Normalize

    task = fdl.Config(ImageClassification, normalize=Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    (tmp_path / PREPROCESSOR).write_text(json.dumps(_preprocessor(task, (24, 32, 3))))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True, use_fast=False)
    except ImportError as error:
        pytest.skip(f"transformers cannot process images here: {error}")
    pixel_values = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    expected = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pixel_values, expected, atol=1e-4)
