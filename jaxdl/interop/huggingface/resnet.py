"""ResNets in Hugging Face format: config.json and model.safetensors, read and written.

The folder is that of `ResNetForImageClassification.save_pretrained`. Nothing is downloaded, and neither transformers
nor torch is needed. Convolutions [out, in, height, width] and kernels [out, in] are transposed. Both models use version
1.5 bottlenecks (stride in the 3x3 convolution) and batch norm with epsilon 1e-5.
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

# Settings in config.json that jaxdl's ResNet supports with one value only.
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
    """Checkpoint as a ResNet of jaxdl.

    Attributes:
      arguments: Arguments of the model, `ResNet(**arguments)`.
      params: Parameters of `ResNet`, float32 numpy arrays.
      batch_stats: Batch statistics, float32 numpy arrays.
      names: Class names.
    """

    arguments: dict[str, Any]
    params: PyTree
    batch_stats: PyTree
    names: tuple[str, ...]


@dataclass(frozen=True)
class HuggingFaceWeights:
    """Initialization of a run from a Hugging Face ResNet, for `Experiment.start`.

    Attributes:
      folder: Folder with config.json and model.safetensors. "" marks a recipe's required argument.
      group: Parameter group to initialize, a `jaxdl.models.resnet.ResNet`.
      head: Whether to load the classifier. It is kept as initialized if False or if the number of classes differs.
    """

    folder: str
    group: str = "classifier"
    head: bool = True

    def load(self, state: TrainState) -> TrainState:
        """Returns the state with the weights, in its shardings; the moving average starts from them.

        Optimizer state and step are kept.

        Raises:
          UserError: The folder is missing or refused by `read_resnet`, or the model differs.
        """
        if not self.folder:
            raise UserError(
                f"start.folder is empty; pass a folder with {CONFIG} and {WEIGHTS}, written by"
                " ResNetForImageClassification.save_pretrained, with --set=start.folder=DIR, or train from scratch with"
                " --set=start=None"
            )
        if self.group not in state.params:
            raise UserError(f"start.group='{self.group}' does not exist; {nearest(self.group, state.params)}")
        path = read_folder(self.folder)
        config, tensors = _read_config(path), read_tensors(path)
        arguments = _model_arguments(config, tensors, path)
        initial = _flat({"params": state.params[self.group], **state.variables.get(self.group, {})})
        expected = initial
        bias = initial.get(("params", "head", "bias"))
        if not self.head or bias is None or bias.size != arguments["num_classes"]:
            expected = {place: leaf for place, leaf in initial.items() if place[1] != "head"}
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
        filled = _filled(expected, tensors, f"{path}, {_described(arguments)}")
        weights = {place: jax.device_put(value, initial[place].sharding) for place, value in filled.items()}
        collections = unflatten_dict({**initial, **weights})
        params = {**state.params, self.group: collections.pop("params")}
        variables = {**state.variables, self.group: collections} if collections else state.variables
        ema = {"params": params, "variables": variables} if state.ema else {}
        return state.replace(params=params, variables=variables, ema=jax.tree.map(lambda array: array.copy(), ema))


def read_resnet(folder: str | Path) -> Pretrained:
    """Reads a checkpoint in a folder, as one file or as shards with an index.

    Raises:
      UserError: A file is missing or damaged, the model is not a supported ResNet, or a tensor is missing, left over
        or of another shape.
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
    """Writes config.json and model.safetensors in the format of `ResNetForImageClassification`.

    Args:
      folder: Folder to write to. Created if necessary.
      model: Model.
      params: Parameters of the model.
      batch_stats: Batch statistics of the model.
      names: Class names. None writes LABEL_0, LABEL_1, ...

    Raises:
      UserError: The model has no equivalent, or the folder already holds a model or is not writable.
    """
    path = Path(folder).expanduser()
    flat = _flat(jax.device_get({"params": params, "batch_stats": batch_stats}))
    config = _config(model, flat[("params", "stem", "conv", "kernel")].shape[2], names)
    tensors = {_tensor_name(place): np.ascontiguousarray(_theirs(leaf)) for place, leaf in flat.items()}
    # torch also stores the number of batches, which has no effect here.
    counters = [name.replace("running_mean", "num_batches_tracked") for name in tensors if "running_mean" in name]
    tensors |= {name: np.zeros((), np.int64) for name in counters}
    write_folder(path, config, tensors)


def write_folder(path: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes config.json and model.safetensors.

    Raises:
      UserError: The folder already holds a model or is not writable.
    """
    safetensors = _safetensors()
    if (path / WEIGHTS).exists():
        raise UserError(f"{path} already holds a model; choose another folder, or remove {WEIGHTS}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        safetensors.save_file(dict(tensors), path / WEIGHTS, metadata={"format": "pt"})
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error}; choose another folder") from error


def _safetensors() -> ModuleType:
    with from_extra("huggingface", "The Hugging Face format"):
        import safetensors.numpy
    return safetensors.numpy


def read_folder(folder: str | Path) -> Path:
    """Returns the folder; raises UserError if it does not exist."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"folder {path} does not exist; pass one with {CONFIG} and {WEIGHTS}")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; raises UserError if the file is missing or invalid."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object; copy it again")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / CONFIG).is_file():
        raise UserError(
            f"{path} has no {CONFIG}; pass a folder written by ResNetForImageClassification.save_pretrained"
        )
    config = read_json(path / CONFIG)
    if config.get("model_type") != "resnet":
        raise UserError(
            f"{path / CONFIG}: model_type '{config.get('model_type')}' is not supported; use a 'resnet' checkpoint"
        )
    return config


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors from one file, or from the shards in the index.

    Raises:
      UserError: A file is missing or damaged.
    """
    files = [path / WEIGHTS]
    if not files[0].is_file():
        if not (path / INDEX).is_file():
            convertible = (path / "pytorch_model.bin").is_file()
            remedy = "load pytorch_model.bin and save it with transformers" if convertible else "copy it there"
            raise UserError(f"{path} has neither {WEIGHTS} nor {INDEX}; {remedy}")
        table = read_json(path / INDEX).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise UserError(f"{path / INDEX} has no weight_map; copy it again")
        files = [path / str(name) for name in sorted(set(table.values()))]
    safetensors, tensors = _safetensors(), {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{path / INDEX} lists {file.name}, which does not exist; copy all shards")
        try:
            tensors |= safetensors.load_file(file)
        except Exception as error:  # the library's error type is compiled; any error means a damaged file
            raise UserError(f"cannot read {file}: {' '.join(str(error).split())}; copy it again") from error
    return tensors


def _model_arguments(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    config_file = path / CONFIG
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            raise UserError(f"{config_file}: {key}={config[key]!r} is not supported; use a model with {value!r}")
    kind, width = config.get("layer_type", "bottleneck"), config.get("embedding_size", 64)
    if kind not in ("basic", "bottleneck"):
        raise UserError(f"{config_file}: layer_type {kind!r} is unknown; {nearest(str(kind), ('basic', 'bottleneck'))}")
    depths = config.get("depths", [3, 4, 6, 3])
    sizes = config.get("hidden_sizes", [256, 512, 1024, 2048])
    expected = _hidden_sizes(width, kind == "bottleneck", len(depths))
    if sizes != expected:
        raise UserError(
            f"{config_file}: hidden_sizes {sizes} are not supported; {kind} layers with embedding_size {width} need"
            f" {expected}"
        )
    if HEAD not in tensors:
        raise UserError(f"{path} lacks the tensor '{HEAD}'; save the model as ResNetForImageClassification")
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
    settings = ", ".join(f"{name}={getattr(value, '__name__', repr(value))}" for name, value in arguments.items())
    return f"ResNet({settings})"


def _names(config: Mapping[str, Any], classes: int, path: Path) -> tuple[str, ...]:
    table = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(classes)}
    if set(table) != {str(index) for index in range(classes)}:
        raise UserError(
            f"{path / CONFIG}: id2label has {len(table)} classes, but the classifier has {classes}; correct it"
        )
    return tuple(str(table[str(index)]) for index in range(classes))


def _tensor_name(place: tuple[str, ...]) -> str:
    """Maps (collection, module, ..., array) to the tensor name in transformers.

    Raises:
      UserError: There is no such tensor.
    """
    collection, *modules, array = place
    if modules == ["head"]:
        return f"classifier.1.{'weight' if array == 'kernel' else array}"
    part = _PARTS.get((collection, array), "")
    match = _BLOCK.fullmatch("/".join(modules))
    if part and modules in (["stem", "conv"], ["stem", "norm"]):
        return f"resnet.embedder.embedder.{part}"
    if not part or not match:
        raise UserError(
            f"{'/'.join(place[1:])} has no counterpart in a Hugging Face ResNet; use jaxdl.models.resnet.ResNet"
        )
    stage, block, _, number, _, _ = match.groups()
    layer = f"layer.{int(number) - 1}" if number else "shortcut"
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{int(block) - 1}.{layer}.{part}"


def _flat(collections: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Flattens collections to {(collection, module, ..., array): leaf}."""
    return flatten_dict(collections)  # pyright: ignore[reportReturnType]


def _ours(tensor: np.ndarray) -> np.ndarray:
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _theirs(array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _filled(
    expected: Mapping[tuple[str, ...], Any], tensors: Mapping[str, np.ndarray], where: str
) -> dict[tuple[str, ...], np.ndarray]:
    """Returns the tensors by path; every path must be filled and every tensor used.

    Args:
      expected: Arrays or shapes by (collection, module, ..., array).
      tensors: Tensors by name.
      where: Origin of the tensors, for error messages.
    """
    unused = {name for name in tensors if not name.endswith("num_batches_tracked")}
    filled = {}
    for place, leaf in expected.items():
        name, array_name = _tensor_name(place), "/".join(place[1:])
        if name not in tensors:
            raise UserError(f"{where}: tensor '{name}' for {array_name} is missing; use the same model")
        value = _ours(tensors[name])
        if value.shape != leaf.shape:
            raise UserError(
                f"{where}: tensor '{name}' has shape {list(value.shape)}, but {array_name} has {list(leaf.shape)};"
                " use the same model"
            )
        filled[place] = np.ascontiguousarray(value, dtype=leaf.dtype)
        unused.discard(name)
    if unused:
        names = ", ".join(sorted(unused)[:3]) + (", ..." if len(unused) > 3 else "")
        raise UserError(f"{where}: {len(unused)} tensors are not part of the model ({names}); use the same model")
    return filled


def _config(model: ResNet, channels: int, names: Sequence[str] | None) -> dict[str, Any]:
    """Returns config.json for a model; raises UserError if it has no equivalent."""
    options, norm = {}, model.norm
    while isinstance(norm, functools.partial):
        norm, options = norm.func, {**norm.keywords, **options}
    unsupported = {
        "stem='small'": model.stem != "imagenet",
        "block, neither BasicBlock nor Bottleneck,": model.block not in (BasicBlock, Bottleneck),
        "norm, not batch_norm with epsilon 1e-5,": norm is not batch_norm or options.get("epsilon", 1e-5) != 1e-5,
        "activation, not relu,": model.activation is not nn.relu,
    }
    for setting, present in unsupported.items():
        if present:
            raise UserError(
                f"the model's {setting} has no Hugging Face equivalent; train ResNet with stem='imagenet'"
                " and its default block, norm and activation to export it"
            )
    labels = list(names) if names is not None else [f"LABEL_{index}" for index in range(model.num_classes)]
    if len(labels) != model.num_classes:
        raise UserError(f"got {len(labels)} class names for {model.num_classes} classes; pass one per class")
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
