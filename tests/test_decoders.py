"""Language models as Hugging Face folders, without transformers."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxdl.errors import UserError
from jaxdl.interop.decoders import read_decoder, write_decoder
from jaxdl.models.transformer import Decoder, gpt2, llama

MODELS = {
    "gpt2": gpt2(7, 6, features=8, layers=2, heads=2, hidden=12),
    "llama": llama(7, 6, features=8, layers=2, heads=4, kv_heads=2, hidden=12),
    "tied": llama(7, 6, features=8, layers=1, heads=2, hidden=12, tied=True),
}


def written(folder, model):
    params = nn.unbox(model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32), train=False))["params"]
    write_decoder(folder, model, params)
    return params


@pytest.mark.parametrize("name", MODELS)
def test_what_was_written_is_read_bitwise(tmp_path, name):
    params = written(tmp_path, MODELS[name])
    model, found = read_decoder(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found, jax.device_get(params))
    tokens = jnp.array([[1, 2, 3]])
    logits = [each.apply({"params": found}, tokens, train=False)[0] for each in (MODELS[name], model)]
    np.testing.assert_array_equal(*logits)


def changed(folder, config=None, tensors=None):
    """The folder with something in it changed."""
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    if tensors:
        path = folder / "model.safetensors"
        save_file(tensors(load_file(path)), path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": {"model_type": "gpt3"}}, "model_type 'gpt3'; did you mean 'gpt2'"),
        ({"config": {"activation_function": "relu"}}, "activation_function is 'relu'; .* 'gelu_new' only"),
        ({"config": {"n_embd": 10}}, "shape .* in the order of .*; use the same model"),
        ({"tensors": lambda given: {**given, "more": np.zeros(1)}}, r"1 tensors have no place in the model \(more\)"),
        (
            {"tensors": lambda given: {name: each for name, each in given.items() if "wpe" not in name}},
            "'transformer.wpe.weight' is missing, which fills place/embedding",
        ),
    ],
)
def test_a_folder_that_does_not_hold_our_decoder_is_refused_in_one_line(tmp_path, change, told):
    written(tmp_path, MODELS["gpt2"])
    changed(tmp_path, **change)
    with pytest.raises(UserError, match=told) as caught:
        read_decoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_scaled_rotary_positions_are_refused(tmp_path):
    written(tmp_path, MODELS["llama"])
    changed(tmp_path, config={"rope_scaling": {"rope_type": "yarn"}})
    with pytest.raises(UserError, match="rope_type is 'yarn'"):
        read_decoder(tmp_path)


def test_only_what_transformers_knows_is_written(tmp_path):
    model = dataclasses.replace(MODELS["gpt2"], order="post")
    with pytest.raises(UserError, match="no Hugging Face equivalent"):
        written(tmp_path, model)
    assert not list(tmp_path.iterdir())
    assert isinstance(model, Decoder)
    written(tmp_path, MODELS["gpt2"])
    with pytest.raises(UserError, match="holds a model already"):
        written(tmp_path, MODELS["gpt2"])
