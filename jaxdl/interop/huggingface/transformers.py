"""Transformers in Hugging Face format: config.json and model.safetensors.

The folder is that of `save_pretrained` in transformers. Nothing is downloaded, and neither transformers nor torch is
needed. `ARCHITECTURES` lists the supported architectures.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.data.store.pretrained import TOKENIZER, find_folder, read_tokenizer, special_token_map
from jaxdl.errors import UserError, nearest
from jaxdl.interop.huggingface.bert import BERT
from jaxdl.interop.huggingface.gpt2 import GPT2
from jaxdl.interop.huggingface.layout import Architecture, from_checkpoint, to_checkpoint
from jaxdl.interop.huggingface.llama import LLAMA
from jaxdl.interop.huggingface.resnet import (
    CONFIG,
    read_folder,
    read_json,
    read_tensors,
    write_folder,
)
from jaxdl.interop.huggingface.t5 import T5
from jaxdl.interop.huggingface.vit import VIT
from jaxdl.models.layers.attention import merged
from jaxdl.training.state import TrainState

PyTree = Any
ARCHITECTURES = {architecture.kind: architecture for architecture in (GPT2, LLAMA, BERT, T5, VIT)}


class Pretrained(NamedTuple):
    """Checkpoint as a model of jaxdl.

    Attributes:
      model: Module, such as `jaxdl.models.gpt.Decoder`.
      params: Parameters of the module, float32 numpy arrays.
    """

    model: Any
    params: PyTree


@dataclass(frozen=True)
class TransformerWeights:
    """Initialization of a run from a Hugging Face Transformer, for `Experiment.start`.

    Attributes:
      folder: Folder with config.json and model.safetensors, or a name such as "minilm" prepared by
        `jaxdl data --prepare=NAME`. "" marks a recipe's required argument. With a BERT tokenizer.json, embeddings
        of special tokens move to jaxdl's ids, as in `jaxdl.data.text.tokenizers.Pretrained`.
      group: Parameter group to initialize.
      into: Module of the group to initialize, such as "encoder" for BERT in a classifier. "" for the whole group.
    """

    folder: str
    group: str
    into: str = ""

    def load(self, state: TrainState) -> TrainState:
        """Returns the state with the weights, in its shardings; the moving average starts from them.

        Raises:
          UserError: The folder is missing or refused by `read_transformer`, or the model has other sizes.
        """
        if not self.folder:
            raise UserError(
                f"start.folder is empty; pass a folder with {CONFIG} and model.safetensors, written by save_pretrained"
                " of transformers, with --set=start.folder=DIR, or train from scratch with --set=start=None"
            )
        if self.group not in state.params:
            raise UserError(f"start.group='{self.group}' does not exist; {nearest(self.group, state.params)}")
        folder = find_folder(self.folder)
        model, params = read_transformer(folder)
        architecture, weights = _architecture(model, None)[0], _flat(params)
        if (folder / TOKENIZER).is_file() and architecture is BERT:
            weights = _with_special_tokens_first(weights, special_token_map(read_tokenizer(folder)["model"]["vocab"]))
        if self.into:
            body = architecture.body
            if body and any(name.startswith(body) for name in weights):  # the rest is the head
                weights = {name.removeprefix(body): leaf for name, leaf in weights.items() if name.startswith(body)}
            weights = {f"{self.into}/{name}": leaf for name, leaf in weights.items()}
        initial = dict(_flat(state.params[self.group]))
        for name, leaf in _as_scanned(weights, initial).items():
            if name not in initial or initial[name].shape != leaf.shape:
                expected = f"has {list(initial[name].shape)}" if name in initial else "lacks it"
                raise UserError(
                    f"{self.folder}: {name} has shape {list(leaf.shape)}, but the model {expected}; use equal sizes"
                )
            initial[name] = jax.device_put(leaf, initial[name].sharding)
        params = {**state.params, self.group: unflatten_dict(initial, sep="/")}
        ema = {**state.ema, "params": params} if state.ema else {}
        return state.replace(params=params, ema=jax.tree.map(lambda array: array.copy(), ema))


def _with_special_tokens_first(weights: Mapping[str, np.ndarray], moved: Mapping[int, int]) -> dict[str, np.ndarray]:
    """Reorders tables with one row per token to jaxdl's ids; see `jaxdl.data.store.pretrained`."""
    order = np.arange(1 + max(moved, default=0))
    for checkpoint_id, jaxdl_id in moved.items():
        order[jaxdl_id] = checkpoint_id

    def moved_rows(table: np.ndarray) -> np.ndarray:
        return np.concatenate([table[order], table[len(order) :]])

    return {
        name: moved_rows(leaf) if name == "bias" or name.endswith("embed/word/embedding") else leaf
        for name, leaf in weights.items()
    }


def read_transformer(folder: str | Path) -> Pretrained:
    """Reads a checkpoint in a folder, as one file or as shards with an index.

    Raises:
      UserError: A file is missing or damaged, the architecture is not supported, or a tensor is missing, left over or
        of another shape.
    """
    path = read_folder(folder)
    config, tensors = read_json(path / CONFIG), read_tensors(path)
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise UserError(f"{path / CONFIG}: model_type '{kind}' is not supported; {nearest(kind, ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]
    for key, value in architecture.fixed.items():
        if config.get(key, value) != value:
            raise UserError(f"{path / CONFIG}: {key}={config[key]!r} is not supported; use a model with {value!r}")
    tensors = _prefixed(tensors, architecture)
    model = architecture.model(config, frozenset(tensors))
    return Pretrained(model, unflatten_dict(_filled(path, architecture, model, tensors), sep="/"))


def write_transformer(folder: str | Path, model: nn.Module, params: PyTree) -> None:
    """Writes config.json and model.safetensors in the format of transformers.

    Args:
      folder: Folder to write to. Created if necessary.
      model: Model.
      params: Parameters of the model.

    Raises:
      UserError: The architecture is not supported, or the folder already holds a model or is not writable.
    """
    flat = _by_block(_flat(merged(jax.device_get(nn.unbox(params)))))
    architecture, config = _architecture(model, flat)
    parts_by_tensor: dict[str, dict[int, np.ndarray]] = {}
    for name, leaf in flat.items():
        ref = architecture.tensor_ref(model, name)
        parts_by_tensor.setdefault(ref.tensor, {})[ref.part] = to_checkpoint(np.asarray(leaf), ref)
    tensors = {
        name: np.ascontiguousarray(np.concatenate([parts[number] for number in sorted(parts)], axis=-1))
        for name, parts in parts_by_tensor.items()
    }
    config = {**architecture.fixed, **config, "model_type": architecture.kind, "torch_dtype": "float32"}
    write_folder(Path(folder).expanduser(), config, tensors)


def check_transformer(model: nn.Module) -> None:
    """Raises UserError if the architecture of a model is not supported."""
    _architecture(model, None)


def _architecture(model: nn.Module, flat: Mapping[str, Any] | None) -> tuple[Architecture, dict[str, Any]]:
    """Returns the architecture of a model and its config.json.

    Settings that need missing arrays are omitted.
    """
    for architecture in ARCHITECTURES.values():
        config = architecture.config(model, flat or {})
        if config is not None:
            return architecture, config
    raise UserError(
        "the model has no Hugging Face equivalent; to export it, train an architecture of gpt2, llama, bert, t5 or vit"
        " in jaxdl.models, of any size"
    )


def _prefixed(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """Returns tensors with the names of a model with a head."""
    prefix = architecture.prefix
    if not prefix or any(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _filled(
    path: Path, architecture: Architecture, model: Any, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns arrays by name; every array must be filled and every tensor used."""
    init = functools.partial(model.init, train=False)
    inputs = architecture.inputs(model, tensors)
    expected = nn.unbox(jax.eval_shape(init, jax.random.key(0), *inputs))["params"]
    filled, unused = {}, {name for name in tensors if not name.endswith(architecture.ignored or ("\0",))}
    for name, leaf in _flat(expected).items():
        ref = architecture.tensor_ref(model, name)
        if ref.tensor not in tensors:
            raise UserError(f"{path}: tensor '{ref.tensor}' for {name} is missing; use the same model")
        value = from_checkpoint(tensors[ref.tensor], ref, leaf.shape)
        if value.shape != leaf.shape:
            raise UserError(
                f"{path}: tensor '{ref.tensor}' has shape {list(value.shape)}, but {name} has {list(leaf.shape)};"
                " use the same model"
            )
        filled[name] = np.ascontiguousarray(value, np.float32)
        unused.discard(ref.tensor)
    if unused:
        names = ", ".join(sorted(unused)[:3]) + (", ..." if len(unused) > 3 else "")
        raise UserError(f"{path}: {len(unused)} tensors are not part of the model ({names}); use the same model")
    return filled


def _by_block(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Unstacks a scanned stack, `blocks/...` [layers, ...], to `block_0/...` and so on."""
    arrays = {}
    for name, leaf in flat.items():
        before, blocks, rest = name.partition("blocks/")
        if blocks:
            arrays |= {f"{before}block_{number}/{rest}": array for number, array in enumerate(leaf)}
        else:
            arrays[name] = leaf
    return arrays


def _as_scanned(flat: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Inverts `_by_block` for the scanned stacks in `like`."""
    stacks = {name.partition("blocks/")[0] for name in like if "blocks/" in name}
    arrays: dict[str, Any] = {}
    for name, leaf in flat.items():
        before, block, rest = name.partition("block_")
        if block and before in stacks:
            arrays.setdefault(f"{before}blocks/{rest.partition('/')[2]}", []).append(leaf)
        else:
            arrays[name] = leaf
    return {name: np.stack(leaf) if isinstance(leaf, list) else leaf for name, leaf in arrays.items()}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict(params, sep="/")  # pyright: ignore[reportReturnType]
