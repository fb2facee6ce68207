"""Transformers in Hugging Face's format: a local folder with config.json and model.safetensors, read and written.

The folder is what `save_pretrained` of transformers writes; nothing is downloaded, and neither transformers nor torch
is needed. Which kinds there are: `ARCHITECTURES`, a file each beside this one.
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

from jaxdl.data.store.pretrained import TOKENIZER, find_folder, read_tokenizer, trades
from jaxdl.errors import UserError, nearest
from jaxdl.interop.huggingface.bert import BERT
from jaxdl.interop.huggingface.gpt2 import GPT2
from jaxdl.interop.huggingface.layout import Architecture, ours, theirs
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
ARCHITECTURES = {each.kind: each for each in (GPT2, LLAMA, BERT, T5, VIT)}


class Pretrained(NamedTuple):
    """A checkpoint as ours.

    Attributes:
      model: the module, such as `jaxdl.models.gpt.Decoder`.
      params: float32 numpy arrays, as `model.init` names them.
    """

    model: Any
    params: PyTree


@dataclass(frozen=True)
class TransformerWeights:
    """Starts a run from a Hugging Face Transformer: `Experiment.start`.

    Attributes:
      folder: with config.json and model.safetensors, or a name such as "minilm" that `launch.py data --prepare=NAME`
        made; "" is a recipe's way to ask for one. Where BERT's tokenizer.json is there, the vectors of special tokens
        go to our ids, as `jaxdl.data.text.tokenizers.Pretrained` has them.
      group: the group of parameters that takes them.
      into: the module of the group that takes them, such as "encoder" for BERT in a classifier; "" for all of it.
    """

    folder: str
    group: str
    into: str = ""

    def load(self, state: TrainState) -> TrainState:
        """A fresh state with the weights in it, in the shardings that it has; the moving average starts from them.

        Raises:
          UserError: no folder was given, a folder that `read_transformer` refuses, or weights of another model.
        """
        if not self.folder:
            raise UserError(
                f"start.folder is empty: give a folder with {CONFIG} and model.safetensors, as save_pretrained(DIR) of"
                " transformers writes it: --set=start.folder=DIR, or --set=start=None to train from drawn parameters"
            )
        if self.group not in state.params:
            raise UserError(f"start.group: no parameter group '{self.group}'; {nearest(self.group, state.params)}")
        folder = find_folder(self.folder)
        model, params = read_transformer(folder)
        architecture, found = _architecture(model, None)[0], _flat(params)
        if (folder / TOKENIZER).is_file() and architecture is BERT:
            found = _with_our_specials(found, trades(read_tokenizer(folder)["model"]["vocab"]))
        if self.into:
            body = architecture.body
            if body and any(name.startswith(body) for name in found):  # the rest is a head
                found = {name.removeprefix(body): leaf for name, leaf in found.items() if name.startswith(body)}
            found = {f"{self.into}/{name}": leaf for name, leaf in found.items()}
        here = dict(_flat(state.params[self.group]))
        for name, leaf in _as_scanned(found, here).items():
            if name not in here or here[name].shape != leaf.shape:
                has = f"has {list(here[name].shape)}" if name in here else "has none"
                raise UserError(f"{self.folder}: {name} is {list(leaf.shape)}, and the model {has}; use the same sizes")
            here[name] = jax.device_put(leaf, here[name].sharding)
        params = {**state.params, self.group: unflatten_dict(here, sep="/")}
        ema = {**state.ema, "params": params} if state.ema else {}
        return state.replace(params=params, ema=jax.tree.map(lambda array: array.copy(), ema))


def _with_our_specials(found: Mapping[str, np.ndarray], moved: Mapping[int, int]) -> dict[str, np.ndarray]:
    """Tables of a row a token in the order of our ids; see `jaxdl.data.store.pretrained`."""
    order = np.arange(1 + max(moved, default=0))
    for there, here in moved.items():
        order[here] = there

    def moved_rows(table: np.ndarray) -> np.ndarray:
        return np.concatenate([table[order], table[len(order) :]])

    return {
        name: moved_rows(leaf) if name == "bias" or name.endswith("embed/word/embedding") else leaf
        for name, leaf in found.items()
    }


def read_transformer(folder: str | Path) -> Pretrained:
    """The checkpoint in a folder, in one file or in shards with an index, as our model.

    Raises:
      UserError: no such folder or file, a file that is damaged, a model of another kind or that ours cannot be, a
        tensor that is missing, left over, or of another shape.
    """
    path = read_folder(folder)
    config, tensors = read_json(path / CONFIG), read_tensors(path)
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise UserError(f"{path / CONFIG} is of model_type '{kind}'; {nearest(kind, ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]
    for key, value in architecture.fixed.items():
        if config.get(key, value) != value:
            raise UserError(f"{path / CONFIG}: {key} is {config[key]!r}; the model here has {value!r} only")
    tensors = _prefixed(tensors, architecture)
    model = architecture.model(config, frozenset(tensors))
    return Pretrained(model, unflatten_dict(_filled(path, architecture, model, tensors), sep="/"))


def write_transformer(folder: str | Path, model: nn.Module, params: PyTree) -> None:
    """Writes config.json and model.safetensors, which transformers loads.

    Args:
      folder: made if it is not there.

    Raises:
      UserError: a model of no kind that is known there, or a folder that holds a model or cannot be written.
    """
    flat = _by_block(_flat(merged(jax.device_get(nn.unbox(params)))))
    architecture, config = _architecture(model, flat)
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, leaf in flat.items():
        place = architecture.place(model, name)
        found.setdefault(place.tensor, {})[place.part] = theirs(np.asarray(leaf), place)
    tensors = {
        name: np.ascontiguousarray(np.concatenate([parts[number] for number in sorted(parts)], axis=-1))
        for name, parts in found.items()
    }
    config = {**architecture.fixed, **config, "model_type": architecture.kind, "torch_dtype": "float32"}
    write_folder(Path(folder).expanduser(), config, tensors)


def check_transformer(model: nn.Module) -> None:
    """Raises UserError if a model is of no kind that is known there."""
    _architecture(model, None)


def _architecture(model: nn.Module, flat: Mapping[str, Any] | None) -> tuple[Architecture, dict[str, Any]]:
    """The kind of a model, and its config.json; without its arrays what depends on them is left out."""
    for architecture in ARCHITECTURES.values():
        config = architecture.config(model, flat or {})
        if config is not None:
            return architecture, config
    raise UserError(
        "the model has no Hugging Face equivalent: train one with the choices of gpt2, llama, bert, t5 or vit in"
        " jaxdl.models, of any size, to export it"
    )


def _prefixed(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """Tensors named as in a model with a head, whether it has one or not."""
    prefix = architecture.prefix
    if not prefix or any(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _filled(
    path: Path, architecture: Architecture, model: Any, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Our arrays by name, every one filled and every tensor used."""
    init = functools.partial(model.init, train=False)
    inputs = architecture.inputs(model, tensors)
    expected = nn.unbox(jax.eval_shape(init, jax.random.key(0), *inputs))["params"]
    filled, unused = {}, {name for name in tensors if not name.endswith(architecture.ignored or ("\0",))}
    for name, leaf in _flat(expected).items():
        place = architecture.place(model, name)
        if place.tensor not in tensors:
            raise UserError(f"{path}: tensor '{place.tensor}' is missing, which fills {name}; use the same model")
        value = ours(tensors[place.tensor], place, leaf.shape)
        if value.shape != leaf.shape:
            raise UserError(
                f"{path}: tensor '{place.tensor}' has shape {list(value.shape)} in the order of {name}, which has"
                f" {list(leaf.shape)}; use the same model"
            )
        filled[name] = np.ascontiguousarray(value, np.float32)
        unused.discard(place.tensor)
    if unused:
        shown = ", ".join(sorted(unused)[:3]) + (", ..." if len(unused) > 3 else "")
        raise UserError(f"{path}: {len(unused)} tensors have no place in the model ({shown}); use the same model")
    return filled


def _by_block(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of a scanned stack, `blocks/...` [layers, ...], as those of its blocks, `block_0/...` and so on."""
    found = {}
    for name, leaf in flat.items():
        before, blocks, rest = name.partition("blocks/")
        if blocks:
            found |= {f"{before}block_{number}/{rest}": each for number, each in enumerate(leaf)}
        else:
            found[name] = leaf
    return found


def _as_scanned(flat: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_by_block`, where the names in `like` are those of a scanned stack."""
    stacks = {name.partition("blocks/")[0] for name in like if "blocks/" in name}
    found: dict[str, Any] = {}
    for name, leaf in flat.items():
        before, block, rest = name.partition("block_")
        if block and before in stacks:
            found.setdefault(f"{before}blocks/{rest.partition('/')[2]}", []).append(leaf)
        else:
            found[name] = leaf
    return {name: np.stack(leaf) if isinstance(leaf, list) else leaf for name, leaf in found.items()}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict(params, sep="/")  # pyright: ignore[reportReturnType]
