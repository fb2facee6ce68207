"""Checkpoints written by transformers: equal logits, or a refusal.

`tests/peer/write_goldens.py` writes the files.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from modules import apply

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.checkpoints import read_model
from jaxdl.interop.huggingface.files import CONFIG, WEIGHTS

safetensors = pytest.importorskip("safetensors.numpy", reason="the huggingface extra is not installed: safetensors")

GOLDEN = Path(__file__).parents[1] / "golden" / "huggingface"
KINDS = sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir())


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_those_of_transformers(kind):
    expected = safetensors.load_file(GOLDEN / kind / "expected.safetensors")
    arguments = [expected[f"input{number}"] for number in range(len(expected) - 1)]
    restored = read_model(GOLDEN / kind)
    outputs = apply(restored.model, restored.variables, *arguments, train=False)
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    assert np.ptp(expected["logits"]) > 0.1
    np.testing.assert_allclose(logits, expected["logits"], atol=2e-5, rtol=2e-5)


@pytest.fixture
def copied(tmp_path):
    """Returns a function that copies a golden folder, with changed settings and tensors."""

    def copy(kind, settings=None, tensors=None, without=()):
        folder = Path(shutil.copytree(GOLDEN / kind, tmp_path / kind, dirs_exist_ok=True))
        config = json.loads((folder / CONFIG).read_text())
        config = {name: value for name, value in config.items() if name not in without} | (settings or {})
        (folder / CONFIG).write_text(json.dumps(config))
        if tensors:
            safetensors.save_file(tensors(safetensors.load_file(folder / WEIGHTS)), folder / WEIGHTS)
        return folder

    return copy


def with_copy(name, original, change=0.0):
    """Returns a function that adds a tensor, a copy of another one plus `change`."""
    return lambda tensors: {**tensors, name: tensors[original] + np.float32(change)}


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


HEADS = {
    "gpt2": ("lm_head.weight", "transformer.wte.weight"),
    "llama_tied": ("lm_head.weight", "model.embed_tokens.weight"),
    "bert": ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    "t5": ("lm_head.weight", "shared.weight"),
}
EQUIVALENT = {  # {case: (kind, arguments of `copied`)}
    **{f"{kind}: an equal output layer": (kind, {"tensors": with_copy(*names)}) for kind, names in HEADS.items()},
    "bert: untied with equal tensors": (
        "bert",
        {
            "settings": {"tie_word_embeddings": False},
            "tensors": lambda tensors: with_copy("cls.predictions.decoder.bias", "cls.predictions.bias")(
                with_copy(*HEADS["bert"])(tensors)
            ),
        },
    ),
    "bert: names of TensorFlow's checkpoints": (
        "bert",
        {
            "tensors": lambda tensors: renamed("LayerNorm.weight", "LayerNorm.gamma")(
                renamed("LayerNorm.bias", "LayerNorm.beta")(tensors)
            )
        },
    ),
    "t5: an equal embedding": ("t5", {"tensors": with_copy("encoder.embed_tokens.weight", "shared.weight")}),
    "gpt2: aliases": (
        "gpt2",
        {
            "settings": {"num_attention_heads": 4, "hidden_size": 8, "num_hidden_layers": 1},
            "without": ("n_head", "n_embd", "n_layer"),
        },
    ),
    "llama: swish": ("llama", {"settings": {"hidden_act": "swish"}}),
    "llama: rope_theta beside unscaled rope_scaling": (
        "llama",
        {"settings": {"rope_theta": 10_000.0, "rope_scaling": {"type": "default"}}, "without": ("rope_parameters",)},
    ),
    "vit: a list of equal patch sides": ("vit", {"settings": {"patch_size": [4, 4], "image_size": [8, 8]}}),
    "a null setting": ("gpt2", {"settings": {"rope_scaling": None, "pruned_heads": {}}}),
}


@pytest.mark.parametrize("case", EQUIVALENT)
def test_equivalent_checkpoints_are_read_as_equal(copied, case):
    kind, change = EQUIVALENT[case]
    expected, read = read_model(GOLDEN / kind), read_model(copied(kind, **change))
    assert read.model == expected.model
    jax.tree.map(np.testing.assert_array_equal, dict(read.arrays), dict(expected.arrays))


def test_the_base_of_rotary_positions_is_read_from_every_name(copied):
    def base(**settings):
        return read_model(copied("llama", settings, without=("rope_parameters",))).model.stack.rotary_base

    assert base() == 10_000.0
    assert base(rope_theta=500.0) == 500.0
    assert base(rope_parameters={"rope_type": "default", "rope_theta": 300.0}, rope_theta=500.0) == 300.0
    assert base(rope_scaling={"type": "default", "rope_theta": 200.0}) == 200.0


def quantized(tensors):
    return {name: tensor.astype(np.int8) if "c_fc.weight" in name else tensor for name, tensor in tensors.items()}


REFUSED = {  # {message: (kind, arguments of `copied`)}
    "rope_type 'linear' is not supported; use a model with 'default'": (
        "llama",
        {"settings": {"rope_scaling": {"type": "linear", "factor": 4.0}}},
    ),
    "rope_type 'llama3' is not supported": ("llama", {"settings": {"rope_parameters": {"rope_type": "llama3"}}}),
    "partial_rotary_factor=0.5 is not supported": (
        "llama",
        {"settings": {"rope_parameters": {"partial_rotary_factor": 0.5}}},
    ),
    **{
        f"tensor '{names[0]}' differs from '{names[1]}', to which it is tied": (
            kind,
            {"tensors": with_copy(*names, change=0.1)},
        )
        for kind, names in list(HEADS.items())[1:]
    },
    "tensor 'decoder.embed_tokens.weight' differs from 'shared.weight'": (
        "t5",
        {"tensors": with_copy("decoder.embed_tokens.weight", "shared.weight", 0.1)},
    ),
    "tie_word_embeddings=False, but the tensor 'cls.predictions.decoder.weight' is missing": (
        "bert",
        {"settings": {"tie_word_embeddings": False}},
    ),
    "tensor 'lm_head.weight' for head/kernel is missing": ("gpt2", {"settings": {"tie_word_embeddings": False}}),
    "c_fc.weight' is int8, which is quantized; save the model in float32": ("gpt2", {"tensors": quantized}),
    "n_head=4 contradicts num_attention_heads=2; remove one of them": (
        "gpt2",
        {"settings": {"num_attention_heads": 2}},
    ),
    'the setting quantization_config={"quant_method": "gptq"} is unknown; remove it if': (
        "gpt2",
        {"settings": {"quantization_config": {"quant_method": "gptq"}}},
    ),
    "the setting attention_sinks=4 is unknown": ("llama", {"settings": {"attention_sinks": 4}}),
    "scale_attn_weights=False is not supported; use a model with True": (
        "gpt2",
        {"settings": {"scale_attn_weights": False}},
    ),
    "is_decoder=True is not supported": ("bert", {"settings": {"is_decoder": True}}),
    "patch_size=[2, 8] is not supported; use a model with square patches": (
        "vit",
        {"settings": {"patch_size": [2, 8]}},
    ),
    "num_channels=1, but the tensors have 3": ("vit", {"settings": {"num_channels": 1}}),
    "is_gated_act=True is not supported": ("t5", {"settings": {"is_gated_act": True}}),
    "config.json does not describe a model": ("llama", {"settings": {"hidden_size": "wide"}}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_unsupported_checkpoints_are_refused_in_one_line(copied, message):
    kind, change = REFUSED[message]
    folder = copied(kind, **change)
    with pytest.raises(UserError) as raised:
        read_model(folder)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
