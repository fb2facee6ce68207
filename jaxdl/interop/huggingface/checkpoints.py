"""Models in Hugging Face format: config.json and model.safetensors.

The folder is that of `save_pretrained` in transformers. Nothing is downloaded, and neither transformers nor torch is
needed. `ARCHITECTURES` lists the supported architectures.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import UserError, nearest
from jaxdl.home import expanded
from jaxdl.interop.huggingface.bert import BERT
from jaxdl.interop.huggingface.files import CONFIG, read_folder, read_json, read_tensors, write_folder
from jaxdl.interop.huggingface.gpt2 import GPT2
from jaxdl.interop.huggingface.layout import NO_DETAILS, Architecture, Details, from_checkpoint, to_checkpoint
from jaxdl.interop.huggingface.llama import LLAMA
from jaxdl.interop.huggingface.resnet_tensors import RESNET
from jaxdl.interop.huggingface.settings import class_names, read_settings
from jaxdl.interop.huggingface.t5 import T5
from jaxdl.interop.huggingface.vit import VIT
from jaxdl.interop.tensors import FLOATING
from jaxdl.models.layers.attention import merged

PyTree = Any
ARCHITECTURES = {architecture.kind: architecture for architecture in (GPT2, LLAMA, BERT, T5, VIT, RESNET)}
_STATISTICS = ("mean", "var")  # arrays of the collection batch_stats; all others are parameters


class Pretrained(NamedTuple):
    """Checkpoint as a model of jaxdl.

    Attributes:
      model: Module, such as `jaxdl.models.gpt.Decoder`.
      arrays: Parameters and batch statistics by name, such as "stack/norm_out/scale", float32 numpy arrays.
      names: Class names of a classifier, else ().
      architecture: Its architecture.
    """

    model: Any
    arrays: Mapping[str, np.ndarray]
    names: tuple[str, ...]
    architecture: Architecture

    @property
    def variables(self) -> dict[str, PyTree]:
        """Collections of the module, `params` and, for ResNet, `batch_stats`."""
        return collections(self.arrays)


def read_model(folder: str | Path) -> Pretrained:
    """Reads a checkpoint in a folder, as one file or as shards with an index.

    Raises:
      UserError: A file is missing or damaged, the architecture or a setting is not supported, or a tensor is missing,
        left over, quantized or of another shape.
    """
    path = read_folder(folder)
    if not (path / CONFIG).is_file():
        raise UserError(f"{path} has no {CONFIG}; pass a folder written by save_pretrained of transformers")
    config, tensors = read_json(path / CONFIG), read_tensors(path)
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise UserError(f"{path / CONFIG}: model_type '{kind}' is not supported; {nearest(kind, ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]
    settings = read_settings(config, architecture, path / CONFIG)
    tensors = _prefixed(tensors, architecture)
    try:
        tensors = _without_copies(tensors, architecture.copies(settings, tensors))
        model = architecture.model(settings, tensors)
        arrays = _filled(architecture, model, settings, tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError, ArithmeticError) as error:  # sizes that no model can have
        reason = str(error).split("\n", 1)[0]
        raise UserError(f"{path / CONFIG} does not describe a model ({reason}); copy it again") from error
    classes = getattr(model, "num_classes", 0)
    return Pretrained(model, arrays, class_names(config, classes, path / CONFIG) if classes else (), architecture)


def write_model(
    folder: str | Path,
    model: nn.Module,
    variables: Mapping[str, PyTree],
    details: Details = NO_DETAILS,
    files: Mapping[str, Mapping[str, Any]] = {},
) -> None:
    """Writes config.json and model.safetensors in the format of transformers.

    Args:
      folder: Folder to write to. Created if necessary.
      model: Model.
      variables: Its collections, `params` and, for ResNet, `batch_stats`.
      details: Class names and image size.
      files: Further JSON files by name. The content of config.json is added to that of the model.

    Raises:
      UserError: The architecture is not supported, or the folder already holds a model or is not writable.
    """
    parts = jax.device_get(nn.unbox(variables))
    arrays = _by_block(flat(merged(parts["params"])) | flat(parts.get("batch_stats", {})))
    architecture, config = _architecture(model, arrays, details)
    parts_by_tensor: dict[str, dict[int, np.ndarray]] = {}
    for name, leaf in arrays.items():
        ref = architecture.tensor_ref(model, name)
        if ref is None:
            raise UserError(f"the model's {name} has no Hugging Face equivalent; export a model without it")
        parts_by_tensor.setdefault(ref.tensor, {})[ref.part] = to_checkpoint(np.asarray(leaf), ref)
    tensors = {
        name: np.ascontiguousarray(np.concatenate([parts[number] for number in sorted(parts)], axis=-1))
        for name, parts in parts_by_tensor.items()
    }
    # torch also stores the number of batches, which has no effect here.
    counters = [name.replace("running_mean", "num_batches_tracked") for name in tensors if "running_mean" in name]
    tensors |= {name: np.zeros((), np.int64) for name in counters}
    config = {**architecture.fixed, **config, "model_type": architecture.kind, "torch_dtype": "float32"}
    write_folder(expanded(folder), tensors, {**files, CONFIG: {**config, **files.get(CONFIG, {})}})


def check_model(model: nn.Module) -> Architecture:
    """Returns the architecture of a model; raises UserError if it is not supported."""
    return _architecture(model, {}, NO_DETAILS)[0]


def _architecture(model: nn.Module, arrays: Mapping[str, Any], details: Details) -> tuple[Architecture, dict[str, Any]]:
    """Returns the architecture of a model and its config.json.

    Settings that need missing arrays are omitted.
    """
    for architecture in ARCHITECTURES.values():
        config = architecture.config(model, arrays, details)
        if config is not None:
            return architecture, config
    raise UserError(
        "the model has no Hugging Face equivalent; to export it, train an architecture of gpt2, llama, bert, t5, vit or"
        " resnet in jaxdl.models, of any size"
    )


def _prefixed(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """Returns tensors with the current names of a model with a head."""
    prefix = architecture.prefix
    missing = prefix if not any(name.startswith(prefix) for name in tensors) else ""
    legacy = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in legacy.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        renamed[f"{missing}{name}"] = tensor
    return renamed


def _without_copies(tensors: Mapping[str, np.ndarray], copies: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Returns the tensors without the second names of tied ones; raises UserError if two differ."""
    kept = dict(tensors)
    for name, original in copies.items():
        copy = kept.pop(name, None)
        if copy is not None and not np.array_equal(copy, kept.setdefault(original, copy)):
            raise UserError(
                f"tensor '{name}' differs from '{original}', to which it is tied; save the model with equal ones"
            )
    return kept


def _filled(
    architecture: Architecture, model: Any, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns arrays by name; every array must be filled and every tensor used."""
    init = functools.partial(model.init, train=False)
    inputs = architecture.inputs(model, settings, tensors)
    expected = nn.unbox(jax.eval_shape(init, jax.random.key(0), *inputs))
    filled, unused = {}, {name for name in tensors if not name.endswith(architecture.ignored or ("\0",))}
    for name, leaf in (flat(expected["params"]) | flat(expected.get("batch_stats", {}))).items():
        ref = architecture.tensor_ref(model, name)
        if ref is None or ref.tensor not in tensors:
            raise UserError(f"tensor '{ref and ref.tensor}' for {name} is missing; use the same model")
        tensor = tensors[ref.tensor]
        if tensor.dtype.name not in FLOATING:
            raise UserError(
                f"tensor '{ref.tensor}' is {tensor.dtype.name}, which is quantized; save the model in float32 or"
                " bfloat16"
            )
        value = from_checkpoint(tensor, ref, leaf.shape)
        if value.shape != leaf.shape:
            raise UserError(
                f"tensor '{ref.tensor}' has shape {list(value.shape)}, but {name} has {list(leaf.shape)}; use the same"
                " model"
            )
        filled[name] = np.ascontiguousarray(value, np.float32)
        unused.discard(ref.tensor)
    if unused:
        names = ", ".join(sorted(unused)[:3]) + (", ..." if len(unused) > 3 else "")
        raise UserError(f"{len(unused)} tensors are not part of the model ({names}); use the same model")
    return filled


def collections(arrays: Mapping[str, Any]) -> dict[str, PyTree]:
    """Returns parameters and batch statistics as nested collections."""
    parts: dict[str, dict[str, Any]] = {"params": {}}
    for name, array in arrays.items():
        part = "batch_stats" if name.rpartition("/")[2] in _STATISTICS else "params"
        parts.setdefault(part, {})[name] = array
    return {part: unflatten_dict(leaves, sep="/") for part, leaves in parts.items()}


def _by_block(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Unstacks a scanned stack, `blocks/...` [layers, ...], to `block_0/...` and so on."""
    arrays = {}
    for name, leaf in leaves.items():
        before, blocks, rest = name.partition("blocks/")
        if blocks:
            arrays |= {f"{before}block_{number}/{rest}": array for number, array in enumerate(leaf)}
        else:
            arrays[name] = leaf
    return arrays


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a nested dict by path, such as "stack/norm_out/scale"."""
    return flatten_dict(params, sep="/")  # pyright: ignore[reportReturnType]
