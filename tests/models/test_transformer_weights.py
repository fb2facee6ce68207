"""Hugging Face folders of transformers, without the transformers library."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import apply, random_weights
from safetensors.numpy import load_file, save_file

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.checkpoints import read_model, write_model
from jaxdl.interop.huggingface.transformers import TransformerWeights
from jaxdl.models.bert import MaskedLanguageModel, SequenceClassifier, bert
from jaxdl.models.gpt import gpt2, llama
from jaxdl.models.t5 import t5
from jaxdl.models.transformer import tanh_gelu
from jaxdl.models.vit import vit
from jaxdl.training.state import TrainState

SMALL: dict[str, Any] = {"features": 8, "layers": 2, "heads": 2, "hidden": 12}
ENCODER = bert(7, 6, **SMALL)
MODELS = {
    "gpt2": gpt2(7, 6, **SMALL),
    "llama": llama(7, 6, **{**SMALL, "heads": 4}, kv_heads=2),
    "tied": llama(7, 6, tied=True, **SMALL),
    "scanned": gpt2(7, 6, **SMALL, scan=True),
    "bert": ENCODER,
    "masked": MaskedLanguageModel(ENCODER),
    "t5": t5(7, 6, **SMALL, head_size=3),
    "t5 1.1": t5(7, 6, tied=False, **SMALL, head_size=3, gated=True, activation=tanh_gelu),
    "vit": vit(3, 4, **SMALL),
}
TOKENS = np.array([[1, 2, 3]], np.int32)
IMAGE = np.random.default_rng(0).random((1, 8, 8, 1)).astype(np.float32)


def inputs(name):
    return (IMAGE,) if name == "vit" else (TOKENS, TOKENS) if name.startswith("t5") else (TOKENS,)


def written(folder, model, name="gpt2"):
    params = random_weights(model.init, *inputs(name), train=False)["params"]
    write_model(folder, model, {"params": params})
    return params


@pytest.mark.parametrize("name", MODELS)
def test_a_round_trip_is_bitwise(tmp_path, name):
    params = written(tmp_path, MODELS[name], name)
    read = read_model(tmp_path)
    model, restored = read.model, read.variables["params"]
    if name != "scanned":
        jax.tree.map(np.testing.assert_array_equal, restored, params)
    outputs = [
        apply(module, {"params": parameters}, *inputs(name), train=False)
        for module, parameters in ((MODELS[name], params), (model, restored))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *outputs)


def fresh(params):
    zero = jnp.int32(0)
    return TrainState(step=zero, seed=zero, params=params, variables={}, carry={}, opt_state={}, ema={})


def test_a_run_is_initialized_from_a_folder(tmp_path):
    written(tmp_path, MODELS["masked"], "bert")
    expected = read_model(tmp_path).variables["params"]["encoder"]
    classifier = SequenceClassifier(dataclasses.replace(ENCODER, cases=4), outputs=2)
    params = jax.device_put(random_weights(classifier.init, TOKENS, train=False)["params"])
    state = TrainState(
        step=jnp.int32(0),
        seed=jnp.int32(0),
        params={"classifier": params},
        variables={},
        carry={},
        opt_state={},
        ema={},
    )
    started = TransformerWeights(str(tmp_path), "classifier", "encoder").load(state).params["classifier"]
    case = started["encoder"]["embed"].pop("case")  # which no checkpoint has
    jax.tree.map(np.testing.assert_array_equal, started["encoder"], expected)
    kept = (params["head"], params["encoder"]["embed"]["case"])
    jax.tree.map(np.testing.assert_array_equal, (started["head"], case), kept)
    for weights, message in (
        (TransformerWeights("", "classifier"), "start.folder is empty"),
        (TransformerWeights(str(tmp_path), "clasifier"), "did you mean 'classifier'"),
        (TransformerWeights(str(tmp_path), "classifier", "body"), "but the model lacks it; use equal sizes"),
    ):
        with pytest.raises(UserError, match=message):
            weights.load(state)


def test_a_scanned_stack_is_initialized_from_a_folder(tmp_path):
    params = written(tmp_path, MODELS["scanned"])
    empty = jax.tree.map(jnp.zeros_like, params)
    state = fresh({"lm": empty})
    started = TransformerWeights(str(tmp_path), "lm").load(state).params["lm"]
    jax.tree.map(np.testing.assert_array_equal, started, params)


def alter(folder, config=None, tensors=None):
    """Alters the config or the tensors of a folder."""
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    if tensors:
        path = folder / "model.safetensors"
        save_file(tensors(load_file(path)), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"model_type": "gpt3"}}, "model_type 'gpt3' is not supported; did you mean 'gpt2'"),
        ({"config": {"activation_function": "relu"}}, "activation_function='relu' is not supported; .* 'gelu_new'"),
        ({"config": {"n_embd": 10}}, "has shape .*, but .* has .*; use the same model"),
        (
            {"tensors": lambda tensors: {**tensors, "more": np.zeros(1)}},
            r"1 tensors are not part of the model \(more\)",
        ),
        (
            {"tensors": lambda tensors: {name: tensor for name, tensor in tensors.items() if "wpe" not in name}},
            "'transformer.wpe.weight' for embed/place/embedding is missing",
        ),
    ],
)
def test_invalid_decoder_folders_are_refused_in_one_line(tmp_path, change, message):
    written(tmp_path, MODELS["gpt2"])
    alter(tmp_path, **change)
    with pytest.raises(UserError, match=message) as caught:
        read_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_scaled_rotary_positions_are_refused(tmp_path):
    written(tmp_path, MODELS["llama"])
    alter(tmp_path, config={"rope_scaling": {"rope_type": "yarn"}})
    with pytest.raises(UserError, match="rope_type 'yarn' is not supported"):
        read_model(tmp_path)


def test_architectures_without_a_transformers_equivalent_are_not_written(tmp_path):
    model = gpt2(7, 6, **SMALL, order="post")
    for other, name in ((model, "gpt2"), (dataclasses.replace(ENCODER, cases=4), "bert")):
        with pytest.raises(UserError, match="no Hugging Face equivalent"):
            written(tmp_path, other, name)
    assert not list(tmp_path.iterdir())
    written(tmp_path, MODELS["gpt2"])
    with pytest.raises(UserError, match="already holds a model"):
        written(tmp_path, MODELS["gpt2"])
