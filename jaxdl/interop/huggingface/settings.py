"""Validation of config.json: every setting that changes the outputs is supported or refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.layout import Architecture

# Settings of all architectures without influence on the logits: dropout, initialization, special tokens, generation,
# losses, numerics, bookkeeping.
INERT = frozenset(
    (
        *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "classifier_dropout", "dropout_rate"),
        *("embd_pdrop", "hidden_dropout_prob", "resid_pdrop", "initializer_factor", "initializer_range"),
        *("bos_token_id", "cls_token_id", "decoder_start_token_id", "eos_token_id", "mask_token_id", "pad_token_id"),
        *("sep_token_id", "unk_token_id", "prefix", "task_specific_params", "tokenizer_class", "language"),
        *("do_sample", "early_stopping", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size"),
        *("num_beams", "repetition_penalty", "temperature", "top_k", "top_p", "typical_p"),
        *("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task"),
        *("attn_implementation", "_attn_implementation", "chunk_size_feed_forward", "dtype", "torch_dtype"),
        *("gradient_checkpointing", "pretraining_tp", "torchscript", "use_bfloat16", "use_cache", "output_past"),
        *("output_attentions", "output_hidden_states", "return_dict", "keys_to_ignore_at_inference"),
        *("architectures", "model_type", "name_or_path", "_name_or_path", "_commit_hash", "transformers_version"),
    )
)

# Names of one activation function in transformers.
_SYNONYMS = {
    "swish": "silu",
    "gelu_python": "gelu",
    **dict.fromkeys(("gelu_accurate", "gelu_fast", "gelu_python_tanh", "gelu_pytorch_tanh"), "gelu_new"),
}


def read_settings(config: Mapping[str, Any], architecture: Architecture, path: Path) -> dict[str, Any]:
    """Returns the settings that the model depends on, under their first names.

    Args:
      config: Content of config.json.
      architecture: Architecture.
      path: config.json, for messages.

    Raises:
      UserError: A setting has an unsupported value, or is unknown and not null.
    """
    settings: dict[str, Any] = {}
    for name, value in config.items():
        first = architecture.aliases.get(name, name)
        if first in settings and settings[first] != value:
            raise UserError(f"{path}: {first}={settings[first]!r} contradicts {name}={value!r}; remove one of them")
        settings[first] = value
    used = {}
    for name, value in settings.items():
        if name in architecture.fixed:
            check_setting(path, name, value, architecture.fixed[name])
        elif name in architecture.settings:
            used[name] = value
        elif name not in INERT and name not in architecture.inert and value not in (None, {}, []):
            raise UserError(
                f"{path}: the setting {name}={shorten(value)} is unknown; remove it if it does not change the outputs"
            )
    return {name: value for name, value in used.items() if value is not None}


def check_setting(path: str | Path, name: str, value: Any, expected: Any) -> None:
    """Raises UserError if a setting differs from the only supported value, up to synonyms of activations."""
    if (_SYNONYMS.get(value, value) if isinstance(value, str) else value) != expected:
        raise UserError(f"{path}: {name}={value!r} is not supported; use a model with {expected!r}")


def shorten(value: Any) -> str:
    """Returns JSON of at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def class_names(config: Mapping[str, Any], classes: int, path: Path) -> tuple[str, ...]:
    """Returns the class names in config.json, by default LABEL_0, LABEL_1, ...

    Raises:
      UserError: Another number of classes than `classes`.
    """
    table = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(classes)}
    if set(table) != {str(index) for index in range(classes)}:
        raise UserError(f"{path}: id2label has {len(table)} classes, but the classifier has {classes}; correct it")
    return tuple(str(table[str(index)]) for index in range(classes))


def label_settings(names: tuple[str, ...] | None, classes: int) -> dict[str, Any]:
    """Returns `id2label` and `label2id`; raises UserError for another number of names than `classes`."""
    labels = names or tuple(f"LABEL_{index}" for index in range(classes))
    if len(labels) != classes:
        raise UserError(f"got {len(labels)} class names for {classes} classes; pass one per class")
    return {
        "id2label": {str(index): name for index, name in enumerate(labels)},
        "label2id": {name: index for index, name in enumerate(labels)},
    }
