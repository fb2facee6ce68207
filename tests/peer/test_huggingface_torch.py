"""Models and their files go to and from transformers with equal logits, texts and classes."""

import functools
import json
from collections import Counter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.checkpoints import read_model, write_model
from jaxdl.interop.huggingface.files import CONFIG, WEIGHTS
from jaxdl.interop.huggingface.layout import Details
from jaxdl.models.t5 import t5

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")

pytestmark = pytest.mark.peer

TOKENS = np.random.default_rng(0).integers(4, 50, (2, 9))
NAMES = ("Abyssinian", "Beagle", "Bengal")
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
BERT = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT |= {"intermediate_size": 40, "max_position_embeddings": 16}
LLAMA = {**BERT, "num_key_value_heads": 2}
T5 = {"vocab_size": 50, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4}
VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
VIT |= {"image_size": 8, "patch_size": 4, **LABELS}
RESNET = {"embedding_size": 8, "depths": [1, 2], **LABELS}
KINDS = {  # {kind: (model type, class, settings)}
    "gpt2": ("gpt2", "GPT2LMHeadModel", {"vocab_size": 50, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 4}),
    "gpt2 untied": (
        *("gpt2", "GPT2LMHeadModel"),
        {"vocab_size": 50, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 4, "tie_word_embeddings": False},
    ),
    "llama": ("llama", "LlamaForCausalLM", LLAMA),
    "llama tied": ("llama", "LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    "llama head_dim": ("llama", "LlamaForCausalLM", {**LLAMA, "head_dim": 8}),
    "bert": ("bert", "BertForMaskedLM", BERT),
    "bert body": ("bert", "BertModel", BERT),
    "t5": ("t5", "T5ForConditionalGeneration", T5),
    "t5 gated": (
        *("t5", "T5ForConditionalGeneration"),
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "vit": ("vit", "ViTForImageClassification", VIT),
    "vit wide": ("vit", "ViTForImageClassification", {**VIT, "image_size": [8, 12], "patch_size": [4, 4]}),
    "resnet": ("resnet", "ResNetForImageClassification", {**RESNET, "hidden_sizes": [32, 64]}),
    "resnet basic": (
        *("resnet", "ResNetForImageClassification"),
        {**RESNET, "hidden_sizes": [8, 16], "layer_type": "basic"},
    ),
}


def peer(kind) -> Any:
    """Returns a small model of transformers with random weights and batch statistics."""
    torch.manual_seed(0)
    model_type, name, settings = KINDS[kind]
    model = getattr(transformers, name)(transformers.AutoConfig.for_model(model_type, **settings))
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.7, 1.3)
            elif tensor.is_floating_point() and "inv_freq" not in name:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model.eval()


def inputs(kind) -> tuple[np.ndarray, ...]:
    model_type, _, settings = KINDS[kind]
    if model_type in ("vit", "resnet"):
        size = settings.get("image_size", 32)
        size = [size, size] if isinstance(size, int) else size
        return (np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32),)
    return (TOKENS, TOKENS[::-1].copy()) if model_type == "t5" else (TOKENS,)


def their_logits(model, given) -> np.ndarray:
    if given[0].ndim == 4:
        named = {"pixel_values": torch.from_numpy(given[0].transpose(0, 3, 1, 2).copy())}
    else:
        named = dict(zip(("input_ids", "decoder_input_ids"), map(torch.from_numpy, given)))
    with torch.no_grad():
        outputs = model.eval()(**named, return_dict=True)
    return (outputs.logits if "logits" in outputs else outputs.last_hidden_state).numpy()


@functools.cache
def compiled(model):
    return jax.jit(lambda variables, *given: model.apply(variables, *given, train=False))


def our_logits(read, given) -> np.ndarray:
    outputs = compiled(read.model)(read.variables, *map(jnp.asarray, given))
    return np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs)


def as_loaded(folder, name):
    return getattr(transformers, name).from_pretrained(folder, local_files_only=True, dtype=torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_preserves_the_logits(tmp_path, kind):
    model, arguments = peer(kind), inputs(kind)
    expected = their_logits(model, arguments)
    model.save_pretrained(tmp_path / "theirs")
    restored = read_model(tmp_path / "theirs")
    np.testing.assert_allclose(our_logits(restored, arguments), expected, atol=1e-4, rtol=1e-4)
    assert restored.names == (NAMES if "id2label" in KINDS[kind][2] else ())
    details = Details(restored.names or None, arguments[0].shape[1:3])
    write_model(tmp_path / "ours", restored.model, restored.variables, details)
    back, report = type(model).from_pretrained(tmp_path / "ours", local_files_only=True, output_loading_info=True)
    assert not [name for name in report["missing_keys"] if "pooler" not in name], report
    assert not report["unexpected_keys"]
    np.testing.assert_allclose(their_logits(back, arguments), expected, atol=1e-5)
    if restored.names:
        assert tuple(back.config.id2label.values()) == NAMES


def test_an_untied_t5_has_equal_logits_in_transformers(tmp_path):
    model = t5(50, 16, tied=False, features=24, layers=1, heads=3, head_size=5, hidden=40)
    arguments = (TOKENS, TOKENS)
    variables = nn.unbox(model.init(jax.random.key(0), *map(jnp.asarray, arguments), train=False))
    write_model(tmp_path, model, variables)
    logits = their_logits(as_loaded(tmp_path, "T5ForConditionalGeneration"), arguments)
    np.testing.assert_allclose(model.apply(variables, *arguments, train=False), logits, atol=1e-4)


def test_shards_and_half_precision_are_read(tmp_path):
    model, arguments = peer("resnet basic").to(torch.bfloat16), inputs("resnet basic")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    logits = our_logits(read_model(tmp_path), arguments)
    np.testing.assert_allclose(logits, their_logits(model.to(torch.float32), arguments), atol=1e-4, rtol=1e-4)


ALIASES = {  # {model type: {alias: first name}}
    "gpt2": {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    "t5": {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    },
}
LEGACY = {
    "position_embedding_type": ["relative_key"],
    "rope_theta": [500.0, 10_000.0],
    "rope_scaling": [
        None,
        {"type": "linear", "factor": 4.0},
        {"type": "default", "rope_theta": 100.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "default"},
    ],
    "rope_parameters": [
        {"rope_type": "default", "rope_theta": 300.0},
        {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0},
        {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    ],
    "partial_rotary_factor": [0.5],
    "n_ctx": [8],
    "quantization_config": [{"quant_method": "bitsandbytes", "load_in_8bit": True}],
    "num_labels": [3, 5],
    "scale_decoder_outputs": [False, True],
    "is_gated_act": [True],
    "dense_act_fn": ["gelu_new", "relu"],
    "tie_word_embeddings": [False, True],
}
ACTIVATIONS = ["relu", "gelu", "gelu_new", "silu", "swish", "gelu_python", "gelu_pytorch_tanh", "quick_gelu"]
LISTS = {
    "patch_size": [[4, 4], [2, 8], 8],
    "image_size": [[8, 8], [4, 16], 16],
    "hidden_sizes": [[16, 32]],
    "depths": [[2, 1], [1, 1]],
    "layer_type": ["basic", "bottleneck"],
    "feed_forward_proj": ["relu", "gated-gelu", "gated-silu", "gelu"],
    "out_features": [["stage1"], None],
    "out_indices": [[1], None],
    "stage_names": [["stem", "one", "two"]],
    "id2label": [{"0": "a", "1": "b"}],
    "label2id": [{"a": 0, "b": 1, "c": 2}],
    "architectures": [["Other"]],
    "dtype": ["float16", "bfloat16"],
    "problem_type": ["regression"],
    "per_layer_config": [{"0": {"hidden_size": 12}}],
}


def mutations(config, model_type):
    """Yields (field, value) for every field of a configuration, its aliases and legacy fields."""
    aliased = {alias: config[first] for alias, first in ALIASES.get(model_type, {}).items()}
    yield from aliased.items()
    for name, value in {**dict.fromkeys(LEGACY), **config, **aliased}.items():
        if name in ("model_type", "transformers_version", "_name_or_path"):
            continue
        values = [*LISTS.get(name, []), *LEGACY.get(name, [])]
        if "act" in name.split("_") or name.endswith("activation"):
            values += ACTIVATIONS
        elif isinstance(value, bool):
            values += [not value]
        elif isinstance(value, (int, float)):
            values += [2 * value, value / 2 if isinstance(value, float) else value // 2, value + 1]
        elif value is None and not values:
            values += [1, 2, True, "x"]
        for changed in values:
            if changed != value:
                yield name, changed


def outcome(folder, config, expected_class, given):
    """Returns "equal", "refused", "invalid" (refused by transformers) or the difference."""
    (folder / CONFIG).write_text(json.dumps(config))
    try:
        logits = our_logits(read_model(folder), given)
    except UserError:
        logits = None
    except Exception as error:
        return f"jaxdl raises {error!r}"
    if logits is None:
        return "refused"
    try:
        model, report = getattr(transformers, expected_class).from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        if report["mismatched_keys"] or [name for name in report["missing_keys"] if "pooler" not in name]:
            return "invalid"
        expected = their_logits(model, given)
    except Exception:
        return "invalid"
    if logits.shape == expected.shape and np.allclose(logits, expected, atol=2e-4, rtol=2e-4):
        return "equal"
    return f"differs by {np.abs(logits - expected).max() if logits.shape == expected.shape else 'its shape'}"


@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama tied", "bert", "t5", "t5 gated", "vit", "resnet"])
def test_a_changed_setting_is_refused_or_has_equal_logits(tmp_path, kind):
    model, arguments = peer(kind), inputs(kind)
    model.save_pretrained(tmp_path)
    config, model_type = json.loads((tmp_path / CONFIG).read_text()), KINDS[kind][0]
    counts, failures, fields = Counter(), [], set()
    for name, value in mutations(config, model_type):
        replaced = ALIASES.get(model_type, {}).get(name)
        altered = {key: kept for key, kept in config.items() if key != replaced} | {name: value}
        result = outcome(tmp_path, altered, KINDS[kind][1], arguments)
        fields.add(name)
        if result not in ("equal", "refused", "invalid"):
            failures.append((name, value, result))
        counts[result if result in ("equal", "refused", "invalid") else "wrong"] += 1
    print(f"{KINDS[kind][1]} ({kind}): {len(fields)} fields, {counts.total()} values: {dict(counts)}")
    assert not failures
    assert counts["equal"] >= 5


TIED = {
    "gpt2": ("lm_head.weight", "transformer.wte.weight"),
    "llama tied": ("lm_head.weight", "model.embed_tokens.weight"),
    "bert": ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    "t5": ("lm_head.weight", "shared.weight"),
}


@pytest.mark.parametrize("kind", TIED)
def test_a_tied_output_layer_is_read_if_it_is_stored_twice(tmp_path, kind):
    model, arguments = peer(kind), inputs(kind)
    model.save_pretrained(tmp_path)
    tensors, (head, embedding) = load_file(tmp_path / WEIGHTS), TIED[kind]
    save_file({**tensors, head: tensors[embedding].copy()}, tmp_path / WEIGHTS, metadata={"format": "pt"})
    np.testing.assert_allclose(our_logits(read_model(tmp_path), arguments), their_logits(model, arguments), atol=1e-4)
    save_file({**tensors, head: tensors[embedding] + 1}, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match="differs from"):
        read_model(tmp_path)
