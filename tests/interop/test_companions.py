"""Companions of exported models: image preprocessing, RGB kernels, special tokens."""

import json

import jax
import numpy as np
import pytest
from modules import apply, random_weights

from jaxdl.data.text.special_tokens import SPECIALS
from jaxdl.data.text.tokenizers import Words
from jaxdl.interop.huggingface.companions import preprocessor_config, with_rgb_inputs, with_template
from jaxdl.models.resnet import ResNet
from jaxdl.models.vit import vit


def test_steps_of_evaluation_become_resize_and_center_crop():
    config = preprocessor_config([{"resize_crop": [256, 224]}], (0.5, 0.4, 0.3), 0.25)
    assert config is not None
    assert (config["size"], config["crop_size"]) == ({"shortest_edge": 256}, {"height": 224, "width": 224})
    assert (config["do_center_crop"], config["resample"]) == (True, 2)
    assert (config["image_mean"], config["image_std"]) == ([0.5, 0.4, 0.3], [0.25, 0.25, 0.25])
    wide = preprocessor_config([{"crop": [16, 24]}], 0.5, 0.25)
    assert wide is not None
    assert (wide["size"], wide["do_center_crop"], wide["resample"]) == ({"height": 16, "width": 24}, False, 3)


@pytest.mark.parametrize("steps", [[{"resize_pad": [32, 32]}], [{"resize_crop": [64, 32]}, {"resize_pad": [8, 8]}], []])
def test_other_steps_have_no_equivalent(steps):
    assert preprocessor_config(steps, 0.5, 0.25) is None


@pytest.mark.parametrize(
    "model",
    [vit(3, 4, features=8, layers=1, heads=2), ResNet((1,), 3, width=4, stem="imagenet")],
    ids=["vit", "resnet"],
)
def test_a_classifier_of_grey_images_classifies_their_rgb_copies_equally(model):
    grey = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    variables = random_weights(model.init, grey, train=False)
    colored = {**variables, "params": with_rgb_inputs(model, variables["params"])}
    logits = [
        apply(model, given, image, train=False)
        for given, image in ((variables, grey), (colored, np.repeat(grey, 3, axis=-1)))
    ]
    assert np.ptp(logits[0]) > 1e-3
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4, rtol=1e-4)
    again = with_rgb_inputs(model, colored["params"])
    jax.tree.map(np.testing.assert_array_equal, again, colored["params"])


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("end", [False, True])
def test_the_template_adds_the_special_tokens_of_the_runs_data(start, end):
    from tokenizers import Tokenizer

    own = Words(20).train(["a good film"])
    exported = Tokenizer.from_str(with_template(own.huggingface, SPECIALS, start, end))
    assert exported.encode("good film").ids == [*[1] * start, *own.encode("good film").tolist(), *[2] * end]
    assert exported.encode("good <end> film", add_special_tokens=False).ids[1] == 2  # as transformers expects
    assert json.loads(exported.to_str())["post_processor"]["type"] == "TemplateProcessing"
