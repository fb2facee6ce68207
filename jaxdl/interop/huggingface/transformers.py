"""Initialization of runs from models in Hugging Face format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.data.store.pretrained import TOKENIZER, find_folder, read_tokenizer
from jaxdl.errors import UserError, nearest
from jaxdl.interop.huggingface.checkpoints import collections, flat, read_model
from jaxdl.interop.huggingface.files import CONFIG, WEIGHTS
from jaxdl.training.state import TrainState

_ADDED = ("_low/", "embed/case/")  # arrays of LoRA and of letter cases, which checkpoints do not have


@dataclass(frozen=True)
class TransformerWeights:
    """Initialization of a run from a Hugging Face Transformer, for `Experiment.start`.

    Attributes:
      folder: Folder with config.json and model.safetensors, or a name such as "minilm" prepared by
        `jaxdl data --prepare=NAME`. "" marks a recipe's required argument. With a tokenizer.json, token embeddings and
        output layers move to jaxdl's ids, those of `jaxdl.data.text.tokenizers.Pretrained`.
      group: Parameter group to initialize.
      into: Module of the group to initialize, such as "encoder" for BERT in a classifier. "" for the whole group.
    """

    folder: str
    group: str
    into: str = ""

    def load(self, state: TrainState) -> TrainState:
        """Returns the state with the weights, in its shardings; the moving average starts from them.

        Raises:
          UserError: The folder is missing or refused by `read_model`, or the model has other sizes.
        """
        folder = required_folder(self.folder, self.group, state)
        read = read_model(folder)
        weights = read.arrays
        if (folder / TOKENIZER).is_file():
            rows = read_tokenizer(folder).rows
            weights = {name: with_token_rows(name, leaf, rows) for name, leaf in weights.items()}
        if self.into:
            body = read.architecture.body
            if body and any(name.startswith(body) for name in weights):  # the rest is the head
                weights = {name.removeprefix(body): leaf for name, leaf in weights.items() if name.startswith(body)}
            weights = {f"{self.into}/{name}": leaf for name, leaf in weights.items()}
        weights = _as_scanned(weights, flat(state.params[self.group]))
        return initialized(state, self.group, weights, (), self.folder, within=f"{self.into}/" if self.into else "")


def required_folder(name: str, group: str, state: TrainState) -> Path:
    """Returns the folder of a run's initial weights.

    Raises:
      UserError: The name is empty, the folder is missing, or the state has no such parameter group.
    """
    if not name:
        raise UserError(
            f"start.folder is empty; pass a folder with {CONFIG} and {WEIGHTS}, written by save_pretrained of"
            " transformers, with --set=start.folder=DIR, or train from scratch with --set=start=None"
        )
    if group not in state.params:
        raise UserError(f"start.group='{group}' does not exist; {nearest(group, state.params)}")
    return find_folder(name)


def initialized(
    state: TrainState,
    group: str,
    arrays: Mapping[str, np.ndarray],
    kept: tuple[str, ...],
    where: str,
    within: str = "",
) -> TrainState:
    """Returns the state with a group's parameters and variables replaced by arrays; the moving average follows.

    Args:
      state: State.
      group: Parameter group.
      arrays: Arrays by name.
      kept: Prefixes of arrays of the group that keep their initialization.
      where: Origin of the arrays, for messages.
      within: Prefix of the arrays that must be replaced, but for `kept`, LoRA and letter cases.

    Raises:
      UserError: An array that the group lacks, of another shape, or missing.
    """
    variables = state.variables.get(group, {})
    initial = flat(state.params[group]) | flat(variables.get("batch_stats", {}))
    for name, leaf in arrays.items():
        if name not in initial or initial[name].shape != leaf.shape:
            expected = f"has {list(initial[name].shape)}" if name in initial else "lacks it"
            raise UserError(f"{where}: {name} has shape {list(leaf.shape)}, but the model {expected}; use equal sizes")
    missing = [
        name
        for name in initial
        if name.startswith(within)
        and name not in arrays
        and not name.startswith(kept or "\0")
        and not any(part in name for part in _ADDED)
    ]
    if missing:
        raise UserError(f"{where}: the model's {missing[0]} is missing in the checkpoint; use equal sizes")
    placed = {name: jax.device_put(leaf, initial[name].sharding) for name, leaf in arrays.items()}
    new = collections({**initial, **placed})
    params = {**state.params, group: new.pop("params")}
    new_variables = {**state.variables, group: {**variables, **new}} if new else state.variables
    ema = {**state.ema, "params": params, **({"variables": new_variables} if new else {})} if state.ema else {}
    return state.replace(params=params, variables=new_variables, ema=jax.tree.map(lambda array: array.copy(), ema))


def with_token_rows(name: str, array: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """Returns an array in the order of jaxdl's ids, if it has a row or a column per token.

    Args:
      name: Name of the array.
      array: Array of a checkpoint. It may have more rows than tokens, which stay at the end.
      rows: Ids in the checkpoint by jaxdl's ids, see `jaxdl.data.store.pretrained.PretrainedTokenizer`.
    """
    axis = 1 if name.endswith("head/kernel") else 0
    if axis == 0 and name != "bias" and not name.endswith("embed/word/embedding"):
        return array
    order = [*rows, *range(1 + max(rows), array.shape[axis])]
    return np.take(array, order, axis)


def _as_scanned(leaves: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Inverts `_by_block` for the scanned stacks in `like`."""
    stacks = {name.partition("blocks/")[0] for name in like if "blocks/" in name}
    arrays: dict[str, Any] = {}
    for name, leaf in leaves.items():
        before, block, rest = name.partition("block_")
        if block and before in stacks:
            arrays.setdefault(f"{before}blocks/{rest.partition('/')[2]}", []).append(leaf)
        else:
            arrays[name] = leaf
    return {name: np.stack(leaf) if isinstance(leaf, list) else leaf for name, leaf in arrays.items()}
