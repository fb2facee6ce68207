"""ResNets in Hugging Face's format: a local folder with config.json and model.safetensors, read and written.

The folder is what `ResNetForImageClassification.save_pretrained` of transformers writes; nothing is downloaded, and
neither transformers nor torch is needed. Its convolutions are [out, in, height, width] and its dense kernels [out, in];
ours are [height, width, in, out] and [in, out]. All of it fits: bottlenecks have their stride in the 3x3 convolution
(version 1.5), and both sides' batch norms have epsilon 1e-5.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import UserError, from_extra, nearest
from jaxdl.models.layers.norms import batch_norm
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet
from jaxdl.training.state import TrainState

PyTree = Any
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
HEAD = "classifier.1.weight"

# What config.json may vary in transformers, and our ResNet does not.
FIXED = {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False}

_PARTS = {
    ("params", "scale"): "normalization.weight",
    ("params", "bias"): "normalization.bias",
    ("batch_stats", "mean"): "normalization.running_mean",
    ("batch_stats", "var"): "normalization.running_var",
    ("params", "kernel"): "convolution.weight",
}
_BLOCK = re.compile(r"stage(\d+)/block(\d+)/(?:(conv|norm)(\d+)|(shortcut)(_norm)?)")


class Pretrained(NamedTuple):
    """A checkpoint as our ResNet takes it.

    Attributes:
      arguments: of the model: `ResNet(**arguments)`.
      params: float32 numpy arrays, as `ResNet.init` names them.
      batch_stats: float32 numpy arrays.
      names: of the classes.
    """

    arguments: dict[str, Any]
    params: PyTree
    batch_stats: PyTree
    names: tuple[str, ...]


@dataclass(frozen=True)
class HuggingFaceWeights:
    """Starts a run from a Hugging Face ResNet: `Experiment.start`.

    Attributes:
      folder: with config.json and model.safetensors; "" is a recipe's way to ask for one.
      group: the group of parameters that takes them, a `jaxdl.models.resnet.ResNet`.
      head: take the classifier, too. False, or another number of classes than here, keeps the one that was drawn.
    """

    folder: str
    group: str = "classifier"
    head: bool = True

    def load(self, state: TrainState) -> TrainState:
        """A fresh state with the weights in it, in the shardings that it has; the moving average starts from them.

        The optimizer's state and the step stay as they are.

        Raises:
          UserError: no folder was given, a folder that `read_resnet` refuses, or weights of another model.
        """
        if not self.folder:
            raise UserError(
                f"start.folder is empty: give the folder of a Hugging Face ResNet, with {CONFIG} and {WEIGHTS}, which"
                " ResNetForImageClassification.save_pretrained(DIR) writes: --set=start.folder=DIR, or --set=start=None"
                " to train from drawn parameters"
            )
        if self.group not in state.params:
            raise UserError(f"start.group: no parameter group '{self.group}'; {nearest(self.group, state.params)}")
        path = read_folder(self.folder)
        config, tensors = _read_config(path), read_tensors(path)
        arguments = _model_arguments(config, tensors, path)
        here = _flat({"params": state.params[self.group], **state.variables.get(self.group, {})})
        wanted = here
        bias = here.get(("params", "head", "bias"))
        if not self.head or bias is None or bias.size != arguments["num_classes"]:
            wanted = {place: leaf for place, leaf in here.items() if place[1] != "head"}
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
        filled = _filled(wanted, tensors, f"{path}, {_described(arguments)}")
        placed = {place: jax.device_put(value, here[place].sharding) for place, value in filled.items()}
        collections = unflatten_dict({**here, **placed})
        params = {**state.params, self.group: collections.pop("params")}
        variables = {**state.variables, self.group: collections} if collections else state.variables
        ema = {"params": params, "variables": variables} if state.ema else {}
        return state.replace(params=params, variables=variables, ema=jax.tree.map(lambda array: array.copy(), ema))


def read_resnet(folder: str | Path) -> Pretrained:
    """The checkpoint in a folder, in one file or in shards with an index, as our model.

    Raises:
      UserError: no such folder or file, a file that is damaged, a model that is not a ResNet or that ours cannot be,
        a tensor that is missing, left over, or of another shape.
    """
    path = read_folder(folder)
    config, tensors = _read_config(path), read_tensors(path)
    arguments = _model_arguments(config, tensors, path)
    image = jax.ShapeDtypeStruct((1, 32, 32, config.get("num_channels", 3)), np.float32)
    init = functools.partial(ResNet(**arguments).init, train=False)
    expected = nn.unbox(jax.eval_shape(init, jax.random.key(0), image))
    filled = unflatten_dict(_filled(_flat(expected), tensors, str(path)))
    names = _names(config, arguments["num_classes"], path)
    return Pretrained(arguments, filled["params"], filled["batch_stats"], names)


def write_resnet(
    folder: str | Path, model: ResNet, params: PyTree, batch_stats: PyTree, names: Sequence[str] | None = None
) -> None:
    """Writes config.json and model.safetensors, which transformers loads as `ResNetForImageClassification`.

    Args:
      folder: made if it is not there.
      names: of the classes; None: LABEL_0, LABEL_1, ...

    Raises:
      UserError: a model that Hugging Face's ResNet cannot be, or a folder that holds a model or cannot be written.
    """
    path = Path(folder).expanduser()
    flat = _flat(jax.device_get({"params": params, "batch_stats": batch_stats}))
    config = _config(model, flat[("params", "stem", "conv", "kernel")].shape[2], names)
    tensors = {_tensor_name(place): np.ascontiguousarray(_theirs(leaf)) for place, leaf in flat.items()}
    # torch keeps a count of batches, too, which changes nothing here.
    counters = [name.replace("running_mean", "num_batches_tracked") for name in tensors if "running_mean" in name]
    tensors |= {name: np.zeros((), np.int64) for name in counters}
    write_folder(path, config, tensors)


def write_folder(path: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes config.json and model.safetensors.

    Raises:
      UserError: a folder that holds a model or cannot be written.
    """
    safetensors = _safetensors()
    if (path / WEIGHTS).exists():
        raise UserError(f"{path} holds a model already; give another folder, or remove {WEIGHTS} there")
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        safetensors.save_file(dict(tensors), path / WEIGHTS, metadata={"format": "pt"})
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}; choose another folder") from error


def _safetensors() -> ModuleType:
    with from_extra("huggingface", "The Hugging Face format"):
        import safetensors.numpy
    return safetensors.numpy


def read_folder(folder: str | Path) -> Path:
    """The folder. Raises UserError if there is none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"no folder {path}; give one with {CONFIG} and {WEIGHTS}")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError for a file that is not there or holds none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; copy it again")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / CONFIG).is_file():
        raise UserError(
            f"{path} has no {CONFIG}; give a folder that ResNetForImageClassification.save_pretrained wrote"
        )
    config = read_json(path / CONFIG)
    if config.get("model_type") != "resnet":
        raise UserError(f"{path / CONFIG} is of model_type '{config.get('model_type')}'; only 'resnet' is read here")
    return config


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of the one file, or of the shards that the index names.

    Raises:
      UserError: no file, or one that is damaged.
    """
    files = [path / WEIGHTS]
    if not files[0].is_file():
        if not (path / INDEX).is_file():
            other = "; it has pytorch_model.bin: load and save it again with transformers"
            found = other if (path / "pytorch_model.bin").is_file() else "; copy it there"
            raise UserError(f"{path} has no {WEIGHTS} and no {INDEX}{found}")
        table = read_json(path / INDEX).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise UserError(f"{path / INDEX} has no weight_map; copy it again")
        files = [path / str(name) for name in sorted(set(table.values()))]
    safetensors, tensors = _safetensors(), {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{path / INDEX} names {file.name}, which is not there; copy all shards")
        try:
            tensors |= safetensors.load_file(file)
        except Exception as error:  # the library's own error type comes from compiled code; any means a damaged file
            raise UserError(f"cannot read {file}: {' '.join(str(error).split())}; copy it again") from error
    return tensors


def _model_arguments(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    where = path / CONFIG
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            raise UserError(f"{where}: {key} is {config[key]!r}; the ResNet here has {value!r} only")
    kind, width = config.get("layer_type", "bottleneck"), config.get("embedding_size", 64)
    if kind not in ("basic", "bottleneck"):
        raise UserError(f"{where}: layer_type is {kind!r}; {nearest(str(kind), ('basic', 'bottleneck'))}")
    depths = config.get("depths", [3, 4, 6, 3])
    sizes = config.get("hidden_sizes", [256, 512, 1024, 2048])
    fitting = _hidden_sizes(width, kind == "bottleneck", len(depths))
    if sizes != fitting:
        raise UserError(
            f"{where}: hidden_sizes are {sizes}; the ResNet here, with {kind} layers and embedding_size {width}, has"
            f" {fitting}"
        )
    if HEAD not in tensors:
        raise UserError(f"{path}: tensor '{HEAD}' is missing; save the model as ResNetForImageClassification")
    return {
        "stage_sizes": tuple(depths),
        "num_classes": tensors[HEAD].shape[0],
        "width": width,
        "block": Bottleneck if kind == "bottleneck" else BasicBlock,
        "stem": "imagenet",
    }


def _hidden_sizes(width: int, bottleneck: bool, stages: int) -> list[int]:
    return [width * (4 if bottleneck else 1) * 2**stage for stage in range(stages)]


def _described(arguments: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name}={getattr(value, '__name__', repr(value))}" for name, value in arguments.items())
    return f"which is ResNet({shown})"


def _names(config: Mapping[str, Any], classes: int, path: Path) -> tuple[str, ...]:
    table = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(classes)}
    if set(table) != {str(index) for index in range(classes)}:
        raise UserError(f"{path / CONFIG}: id2label has {len(table)} classes, the classifier has {classes}; mend it")
    return tuple(str(table[str(index)]) for index in range(classes))


def _tensor_name(place: tuple[str, ...]) -> str:
    """Our (collection, module, ..., array) -> the tensor's name in transformers.

    Raises:
      UserError: there is nothing like it there.
    """
    collection, *modules, array = place
    if modules == ["head"]:
        return f"classifier.1.{'weight' if array == 'kernel' else array}"
    part = _PARTS.get((collection, array), "")
    found = _BLOCK.fullmatch("/".join(modules))
    if part and modules in (["stem", "conv"], ["stem", "norm"]):
        return f"resnet.embedder.embedder.{part}"
    if not part or not found:
        raise UserError(
            f"{'/'.join(place[1:])} has no counterpart in a Hugging Face ResNet; use jaxdl.models.resnet.ResNet"
        )
    stage, block, _, number, _, _ = found.groups()
    layer = f"layer.{int(number) - 1}" if number else "shortcut"
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{int(block) - 1}.{layer}.{part}"


def _flat(collections: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """{(collection, module, ..., array): leaf}."""
    return flatten_dict(collections)  # pyright: ignore[reportReturnType]


def _ours(tensor: np.ndarray) -> np.ndarray:
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _theirs(array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _filled(
    expected: Mapping[tuple[str, ...], Any], tensors: Mapping[str, np.ndarray], where: str
) -> dict[tuple[str, ...], np.ndarray]:
    """The tensors by our places, every place filled and every tensor used.

    Args:
      expected: arrays or shapes by (collection, module, ..., array).
      where: what the tensors are from, for errors.
    """
    unused = {name for name in tensors if not name.endswith("num_batches_tracked")}
    filled = {}
    for place, leaf in expected.items():
        name, mine = _tensor_name(place), "/".join(place[1:])
        if name not in tensors:
            raise UserError(f"{where}: tensor '{name}' is missing, which fills {mine}; use the same model")
        value = _ours(tensors[name])
        if value.shape != leaf.shape:
            raise UserError(
                f"{where}: tensor '{name}' has shape {list(value.shape)} in the order of {mine}, which has"
                f" {list(leaf.shape)}; use the same model"
            )
        filled[place] = np.ascontiguousarray(value, dtype=leaf.dtype)
        unused.discard(name)
    if unused:
        shown = ", ".join(sorted(unused)[:3]) + (", ..." if len(unused) > 3 else "")
        raise UserError(f"{where}: {len(unused)} tensors have no place in the model ({shown}); use the same model")
    return filled


def _config(model: ResNet, channels: int, names: Sequence[str] | None) -> dict[str, Any]:
    """config.json for a model, where there is one that means the same."""
    options, norm = {}, model.norm
    while isinstance(norm, functools.partial):
        norm, options = norm.func, {**norm.keywords, **options}
    refused = {
        "stem='small'": model.stem != "imagenet",
        "block, neither BasicBlock nor Bottleneck,": model.block not in (BasicBlock, Bottleneck),
        "norm, not batch_norm with epsilon 1e-5,": norm is not batch_norm or options.get("epsilon", 1e-5) != 1e-5,
        "activation, not relu,": model.activation is not nn.relu,
    }
    for what, bad in refused.items():
        if bad:
            raise UserError(
                f"the model's {what} has no Hugging Face equivalent; train ResNet with stem='imagenet'"
                " and its default block, norm and activation to export it"
            )
    labels = list(names) if names is not None else [f"LABEL_{index}" for index in range(model.num_classes)]
    if len(labels) != model.num_classes:
        raise UserError(f"{len(labels)} class names for a model of {model.num_classes} classes; give one for each")
    bottleneck = model.block is Bottleneck
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "num_channels": channels,
        "embedding_size": model.width,
        "hidden_sizes": _hidden_sizes(model.width, bottleneck, len(model.stage_sizes)),
        "depths": list(model.stage_sizes),
        "layer_type": "bottleneck" if bottleneck else "basic",
        **FIXED,
        "id2label": {str(index): name for index, name in enumerate(labels)},
        "label2id": {name: index for index, name in enumerate(labels)},
        "torch_dtype": "float32",
    }
